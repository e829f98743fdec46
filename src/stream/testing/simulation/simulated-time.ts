/**
 * Owns time and order: a queue of what happens when. Every wait of the core ends in an event of this queue, so the seed
 * decides the order of everything. Between two events all promises settle that can.
 *
 * Nothing else may tell time or wait while a schedule runs: {@link forbidRealTime} makes whoever tries fail.
 */

interface Event {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | null;
}

/** Far more than the longest schedule has: one past it goes round in circles. */
const MOST_EVENTS = 2_000_000;

export class SimulatedTime {
  nowMs = 0;
  private readonly heap: Event[] = [];
  private scheduled = 0;
  private ran = 0;

  /** Runs `run` after `delayMs`; the result takes it back. */
  schedule(delayMs: number, run: () => void): () => void {
    const event: Event = { atMs: this.nowMs + Math.max(0, delayMs), order: this.scheduled++, run };
    this.push(event);
    return () => {
      event.run = null;
    };
  }

  /** Lets events happen until `done` holds. Rejects when nothing is left to happen, `limitMs` has passed, or one throws. */
  runUntil(done: () => boolean, limitMs: number, waitingFor: string): Promise<void> {
    const deadline = this.nowMs + limitMs;
    return new Promise((resolve, reject) => {
      const step = () => {
        try {
          if (done()) return resolve();
          const event = this.pop();
          if (event === null) throw new Error(`nothing happens any more, waiting for ${waitingFor}`);
          if (event.atMs > deadline) throw new Error(`${limitMs} ms passed, waiting for ${waitingFor}`);
          if (++this.ran > MOST_EVENTS) throw new Error(`${MOST_EVENTS} events passed, waiting for ${waitingFor}`);
          this.nowMs = event.atMs;
          event.run?.();
          // Ticks asked for by a microtask run once no microtask is left: promises settle between two events.
          queueMicrotask(() => process.nextTick(step));
        } catch (error) {
          reject(error);
        }
      };
      process.nextTick(step);
    });
  }

  private push(event: Event): void {
    const { heap } = this;
    let place = heap.push(event) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (isBefore(heap[parent], event)) break;
      heap[place] = heap[parent];
      place = parent;
    }
    heap[place] = event;
  }

  /** The next event that has not been taken back. */
  private pop(): Event | null {
    const { heap } = this;
    for (;;) {
      const first = heap[0];
      const last = heap.pop();
      if (first === undefined || last === undefined) return null;
      if (heap.length > 0) this.sink(last);
      if (first.run !== null) return first;
    }
  }

  private sink(event: Event): void {
    const { heap } = this;
    let place = 0;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (isBefore(event, heap[child])) break;
      heap[place] = heap[child];
      place = child;
    }
    heap[place] = event;
  }
}

const isBefore = (a: Event, b: Event) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** Until the result is called, asking the machine for time, timers or chance throws: the core gets all three injected. */
export function forbidRealTime(): () => void {
  const undo: (() => void)[] = [];
  const forbid = (owner: object, name: string) => {
    const before = Reflect.get(owner, name);
    const refuse = () => {
      throw new Error(`${name} was called in a simulation: time, timers and chance are injected`);
    };
    Reflect.set(owner, name, refuse);
    undo.push(() => Reflect.set(owner, name, before));
  };
  for (const name of ['setTimeout', 'setInterval', 'setImmediate']) forbid(globalThis, name);
  forbid(Date, 'now');
  forbid(performance, 'now');
  forbid(Math, 'random');
  return () => {
    for (const back of undo) back();
  };
}
