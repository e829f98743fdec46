/**
 * Owns the pace of the simulated card world: lets it pay into a topic as real time goes by. Neighbours:
 * `fraud/world/card-world.ts` makes the payments, a `RecordWriter` takes them.
 *
 * D1 A payment's event time is the time at which it is sent, within a slice.
 * D2 After a pause longer than `MAX_CATCH_UP_MS` (a suspended machine, a log that was away) a new world begins now, with
 *    ids of its own; what the old one would have paid meanwhile is not made up for.
 * D3 A write that failed is not repeated: it may have happened. The next slice tries again, later and later.
 */
import type { CardWorld } from '../../fraud/world/card-world.js';
import type { Clock, RecordWriter } from '../../stream/ports.js';

export interface DemoWorldOptions {
  readonly writer: RecordWriter;
  readonly topic: string;
  /** Makes the world that begins at `startMs`; the start is part of its payments' ids. */
  readonly makeWorld: (startMs: number) => CardWorld;
  readonly clock: Clock;
  readonly say: (level: 'info' | 'warn', message: string) => void;
}

export interface DemoWorld {
  /** Messages acknowledged so far. */
  readonly sent: number;
  /** Resolves once the last write has settled. */
  stop(): Promise<void>;
}

const SLICE_MS = 25;
const MAX_CATCH_UP_MS = 5_000;
/** Messages a write: bounds memory when the log has fallen behind. */
const MOST_AT_ONCE = 5_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;

/** Starts to pay. Never throws: trouble is told and tried again. */
export function startDemoWorld(options: DemoWorldOptions): DemoWorld {
  return new PacedWorld(options);
}

class PacedWorld implements DemoWorld {
  sent = 0;
  #world: CardWorld;
  /** World time up to which messages were sent. */
  #reachedMs: number;
  #retryMs = FIRST_RETRY_MS;
  #stopped = false;
  #cancelWait: () => void = () => undefined;
  readonly #loop: Promise<void>;

  constructor(private readonly options: DemoWorldOptions) {
    this.#reachedMs = options.clock.now();
    this.#world = options.makeWorld(this.#reachedMs);
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWait();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) await this.#wait(await this.#slice());
  }

  /** Sends what is due; returns the time until the next slice. */
  async #slice(): Promise<number> {
    const { clock, writer, topic, say, makeWorld } = this.options;
    const nowMs = clock.now();
    const behindMs = nowMs - this.#reachedMs;
    if (Math.abs(behindMs) > MAX_CATCH_UP_MS) {
      say('info', `the card world is ${Math.round(behindMs / 1_000)} s behind the clock and begins anew`);
      this.#world = makeWorld(nowMs); // D2
    }
    const messages = this.#world.next(nowMs, MOST_AT_ONCE);
    const isFull = messages.length === MOST_AT_ONCE;
    this.#reachedMs = isFull ? messages[MOST_AT_ONCE - 1].atMs : nowMs;
    if (messages.length === 0) return SLICE_MS;
    const records = messages.map(({ key, value, atMs }) => {
      return { topic, key: Buffer.from(key), value, headers: [], timestampMs: atMs };
    });
    try {
      await writer.write(records);
      this.sent += records.length;
      this.#retryMs = FIRST_RETRY_MS;
      // More was due than fits into one write: no pause.
      return isFull ? 0 : SLICE_MS;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      say('warn', `the card world could not pay (${reason}); next try in ${this.#retryMs / 1_000} s`);
      const delayMs = this.#retryMs;
      this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2);
      return delayMs; // D3
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.options.clock.schedule(ms, resolve);
      this.#cancelWait = () => {
        cancel();
        resolve();
      };
      if (this.#stopped) this.#cancelWait();
    });
  }
}
