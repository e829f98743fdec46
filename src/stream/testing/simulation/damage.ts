/**
 * Owns damage that no task may pass over: a bit turned over in a committed delta, source records that retention took too
 * early. Whoever comes upon it must stop and name the place; then an operator mends it. Neighbours: `cluster.ts` is both.
 */
import type { Generation } from './generation.js';
import type { SeededRandom } from './random.js';
import type { SimulatedLog } from './simulated-log.js';

interface Damage {
  readonly what: 'corrupt-delta' | 'source-cut';
  readonly partition: number;
  /** The code and a part of the message that names it. */
  readonly code: string;
  readonly named: string;
  /** Others may have come upon it before it was mended, and say so later. */
  isMended: boolean;
  repair(): void;
}

/** Bytes of a state-log record before its body. */
const HEAD_BYTES = 24;

export class Damages {
  private readonly all: Damage[] = [];

  constructor(
    private readonly log: SimulatedLog,
    private readonly random: SeededRandom,
    /** The one that is damaged. */
    private readonly generation: () => Generation,
  ) {}

  /** A bit of a committed delta turns over. One at a time a partition. */
  corruptDelta(partition: number): void {
    if (this.has('corrupt-delta', partition)) return;
    const stateLog = this.log.partition(this.generation().stateLog, partition);
    const { records } = stateLog.fetch(stateLog.start, Number.POSITIVE_INFINITY);
    const record = records.at(-this.random.int(1, Math.min(6, records.length)));
    if (record?.value === undefined || record.value === null || record.value.length <= HEAD_BYTES) return;
    const { value, offset } = record;
    const at = this.random.int(HEAD_BYTES, value.length - 1);
    const bit = 1 << this.random.int(0, 7);
    const turn = () => {
      value[at] ^= bit;
    };
    turn();
    this.add('corrupt-delta', partition, 'corrupt-data', `state log offset ${offset}:`, turn);
  }

  /** Retention takes source records that may not be processed yet. */
  cutSource(partition: number): void {
    // A task that never committed may begin wherever the source begins.
    const { stateLog, source: topic } = this.generation();
    const hasCommitted = this.log.partition(stateLog, partition).history().length > 0;
    if (!hasCommitted || this.has('source-cut', partition)) return;
    const source = this.log.partition(topic, partition);
    const before = source.start;
    source.truncate(this.random.int(before, source.end));
    this.add('source-cut', partition, 'offset-out-of-range', `${topic}/${partition} holds`, () => {
      source.start = before;
    });
  }

  /** The damage that an error tells of, or null. */
  namedBy(code: string, message: string): Damage | null {
    const named = this.all.filter((damage) => damage.code === code && message.includes(damage.named));
    return named.find(({ isMended }) => !isMended) ?? named.at(0) ?? null;
  }

  mend(damage: Damage): void {
    if (damage.isMended) return;
    damage.isMended = true;
    damage.repair();
  }

  mendAll(): void {
    for (const damage of this.all) this.mend(damage);
  }

  private has(what: Damage['what'], partition: number): boolean {
    return this.all.some((damage) => damage.what === what && damage.partition === partition && !damage.isMended);
  }

  private add(what: Damage['what'], partition: number, code: string, named: string, repair: () => void): void {
    this.all.push({ what, partition, code, named, isMended: false, repair });
  }
}
