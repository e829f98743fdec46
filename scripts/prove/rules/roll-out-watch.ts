/**
 * Owns watching the roll-out from outside: it reads the take-ups that tasks wrote with their epochs, committed ones
 * only, as they come. Neighbours: `proof.ts` measures with it, `check.ts` takes the whole list in the end.
 */
import { rolloutRecordSchema, type TakeUp } from '../../../src/fraud/rules/rollout.js';
import type { LogBackend, PartitionReader } from '../../../src/stream/ports.js';
import { RecordBatch } from '../../../src/stream/records.js';

const WAIT_MS = 50;

export class RollOutWatch {
  /** Every take-up ever written, in the log's order. */
  readonly takeUps: TakeUp[] = [];
  private readonly waiting = new Set<() => void>();
  private stopping = false;
  private readonly running: Promise<void>;

  private constructor(private readonly reader: PartitionReader) {
    this.running = this.follow();
    this.running.catch(() => {}); // told by `stop`
  }

  static async open(backend: LogBackend, topic: string): Promise<RollOutWatch> {
    return new RollOutWatch(await backend.openReader({ topic, partition: 0, from: 'earliest' }));
  }

  /** Resolves, with the time (`performance.now()`), when every task has told that it runs this version or a later one. */
  async allRun(version: number, tasks: number, timeoutMs: number): Promise<number> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const newest = new Map(this.takeUps.map((takeUp) => [takeUp.taskId, takeUp.ruleSet.version]));
      const running = [...newest.values()].filter((running) => running >= version).length;
      if (running === tasks) return performance.now();
      if (performance.now() > deadline) {
        throw new Error(`${running} of ${tasks} tasks run rule set ${version} after ${timeoutMs} ms`);
      }
      await new Promise<void>((resolve) => {
        this.waiting.add(resolve);
        setTimeout(resolve, WAIT_MS);
      });
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
    await this.reader.close();
  }

  private async follow(): Promise<void> {
    const batch = new RecordBatch(64);
    while (!this.stopping) {
      const count = this.reader.read(batch);
      for (let index = 0; index < count; index++) {
        const record = rolloutRecordSchema.parse(JSON.parse(String(batch.value(index))));
        if (record.kind === 'take-up') this.takeUps.push(record);
      }
      if (count > 0) this.wake();
      else await this.reader.whenReadable(WAIT_MS);
    }
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
  }
}
