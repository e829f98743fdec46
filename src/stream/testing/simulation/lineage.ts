/**
 * Owns what the oracle knows of generations: which there are, what each of their tasks must begin with, and what must
 * not be committed because of that. All of it comes from the journal, nothing from the core.
 *
 * L1 A generation is whole once every task before it is sealed for it and all of its own are seeded. Nothing is seeded
 *    before all are sealed, no epoch is committed before all are seeded, and nothing is opened again after that.
 * L2 A record is processed where its key belongs under its generation's partitions, and nowhere else.
 */
import { partitionOfKey } from '../../partitioning.js';
import { firstGeneration, type Generation } from './generation.js';
import { Journal, type JournalledEpoch, type JournalledSeal, type JournalledSeed, Violation } from './journal.js';
import { type Beginning, type Expected, FROM_NOTHING, type ReferenceCard, reference } from './reference.js';
import type { LogTransaction, SimulatedPartition } from './simulated-partition.js';
import { MOVED, TOPICS } from './simulated-pipeline.js';
import type { World } from './world.js';

interface AsOf {
  readonly generation: number;
  readonly epochs: readonly number[];
}

type LineageWorld = Pick<World, 'plan' | 'log'>;

export class Lineage {
  readonly journal: Journal;
  private readonly everSealed = new Set<string>();
  /** Number of the newest generation that was ever whole. */
  private newestWhole = 1;

  constructor(
    private readonly world: LineageWorld,
    snapshots: (stateLog: SimulatedPartition) => readonly string[],
  ) {
    this.journal = new Journal({
      retained: world.plan.options.checkpoint.retained,
      snapshots,
      onEpoch: (stateLog, head) => this.checkEpoch(stateLog, head),
      onSeed: (stateLog, seed) => this.checkSeed(stateLog, seed),
      onSeal: (stateLog, seal) => this.checkSeal(stateLog, seal),
    });
  }

  /** Told when the commit of an epoch, a seed or a seal is decided. Returns the epoch; null for what is none. */
  onCommit(transaction: LogTransaction): JournalledEpoch | null {
    const head = this.journal.onCommit(transaction);
    if (this.world.plan.rescale !== null) this.newestWhole = Math.max(this.newestWhole, this.generations.length);
    return head;
  }

  /** Those that are whole, oldest first. */
  get generations(): readonly Generation[] {
    const all = [firstGeneration(this.world.plan.partitions)];
    for (;;) {
      const next = this.sealedFor(all[all.length - 1]);
      if (next === null || !this.isSeeded(next)) return all;
      all.push(next);
    }
  }

  stateLog({ stateLog }: Generation, partition: number): SimulatedPartition {
    return this.world.log.partition(stateLog, partition);
  }

  /** Source offset behind the last epoch of a generation's task. */
  committedTo(generation: Generation, partition: number): number {
    return this.journal.committedTo(this.stateLog(generation, partition));
  }

  lastEpoch(generation: Generation, partition: number): number {
    return this.journal.lastEpoch(this.stateLog(generation, partition));
  }

  /** The newest epoch of each task that whoever reads committed records sees by now, by partition. -1: none. */
  readableEpochs(generation: Generation): readonly number[] {
    return Array.from({ length: generation.partitions }, (_, partition) => {
      const newest = this.lastEpoch(generation, partition);
      // Decided, and its marker may still be on its way.
      return this.stateLog(generation, partition).hasUndecided ? newest - 1 : newest;
    });
  }

  /**
   * What must be true of each task of the generations so far, by partition. With `asOf`, up to these epochs of a
   * generation, by partition, and no later one. Errors: {@link Violation} of broadcast take-ups.
   */
  expected(asOf?: AsOf): readonly (readonly Expected[])[] {
    const all: (readonly Expected[])[] = [];
    let before: { readonly generation: Generation; readonly expected: readonly Expected[] } | null = null;
    for (const generation of this.generations) {
      const expected: Expected[] = [];
      for (let partition = 0; partition < generation.partitions; partition++) {
        const beginning: Beginning =
          before === null ? FROM_NOTHING : beginningOf(before.generation, before.expected, this, generation, partition);
        const upTo = asOf?.generation === generation.number ? asOf.epochs[partition] : undefined;
        const isCut = upTo !== undefined || this.newestWhole > generation.number;
        expected.push(this.referenceOf(generation, partition, beginning, { isCut, upTo }));
      }
      all.push(expected);
      if (asOf?.generation === generation.number) break;
      before = { generation, expected };
    }
    return all;
  }

  private referenceOf(
    generation: Generation,
    partition: number,
    beginning: Beginning,
    { isCut, upTo }: { readonly isCut: boolean; readonly upTo: number | undefined },
  ): Expected {
    const { plan, log } = this.world;
    const { epochs } = this.journal.of(this.stateLog(generation, partition));
    return reference({
      outOfOrdernessMs: plan.outOfOrdernessMs,
      idles: plan.options.idleTimeoutMs > 0,
      source: log.partition(generation.source, partition).history(),
      table: log.partition(TOPICS.table, 0).history(),
      epochs: upTo === undefined ? epochs : epochs.filter(({ epoch }) => epoch <= upTo),
      beginning,
      isCut,
    });
  }

  /** Whether some task of it is, or was, sealed. */
  wasSealed({ stateLog }: Generation): boolean {
    return this.everSealed.has(stateLog);
  }

  /** The generation for which every task of this one is sealed. */
  private sealedFor(generation: Generation): Generation | null {
    let seal: JournalledSeal | null = null;
    for (let partition = 0; partition < generation.partitions; partition++) {
      seal = this.journal.of(this.stateLog(generation, partition)).seal;
      if (seal === null) return null;
    }
    if (seal === null) return null;
    const { generation: number, stateLog, source, partitions } = seal;
    return { number, stateLog, source, partitions, seededFrom: null };
  }

  private isSeeded({ stateLog, partitions }: Generation): boolean {
    const logs = this.world.log.partitions(stateLog);
    return logs.length === partitions && logs.every((log) => this.journal.of(log).seed !== null);
  }

  private checkEpoch(stateLog: SimulatedPartition, { epoch, from, to }: JournalledEpoch): void {
    if (this.world.plan.rescale === null) return;
    const generation = this.generations.find((one) => one.stateLog === stateLog.topic);
    if (generation === undefined) {
      throw new Violation('L1', `epoch ${epoch} of ${stateLog.topic}/${stateLog.partition} before all are seeded`);
    }
    const { source, partitions } = generation;
    const log = this.world.log.partition(source, stateLog.partition);
    for (const { offset, key } of log.fetch(Math.max(from, log.start), to - from).records) {
      if (offset >= to || key === null || partitionOfKey(key, partitions) === stateLog.partition) continue;
      throw new Violation(
        'L2',
        `epoch ${epoch} of ${stateLog.topic}/${stateLog.partition} has the record at ${offset}`,
      );
    }
  }

  private checkSeed(stateLog: SimulatedPartition, { resume }: JournalledSeed): void {
    const { topic, partition } = stateLog;
    const current = this.generations[this.generations.length - 1];
    const next = this.sealedFor(current);
    if (next === null || next.stateLog !== topic) {
      throw new Violation('L1', `${topic}/${partition} is seeded before all tasks of the generation before are sealed`);
    }
    const expected = this.expected().at(-1) ?? [];
    const { offset, maxEventTimeMs, table } = beginningOf(current, expected, this, next, partition);
    const told = [resume.sourceOffset, resume.maxEventTimeMs, resume.cursors.table ?? 0].join(' ');
    if (told !== [offset, maxEventTimeMs, table].join(' ')) {
      throw new Violation(
        'seed',
        `${topic}/${partition} goes on at ${told} (offset, event time, table), not at ${offset} ${maxEventTimeMs} ${table}`,
      );
    }
  }

  private checkSeal(stateLog: SimulatedPartition, seal: JournalledSeal | null): void {
    if (seal !== null) {
      this.everSealed.add(stateLog.topic);
      return;
    }
    const { newestWhole } = this;
    if (newestWhole === 1) return;
    throw new Violation(
      'L1',
      `${stateLog.topic}/${stateLog.partition} is opened again: generation ${newestWhole} was whole`,
    );
  }
}

/** What a task of the generation after `before` begins with. */
function beginningOf(
  before: Generation,
  left: readonly Expected[],
  lineage: Lineage,
  { source, partitions }: Generation,
  partition: number,
): Beginning {
  const isSame = partitions === before.partitions;
  const isCarried = source === before.source && partition < before.partitions;
  const from = isSame ? [left[partition]] : left;
  const times = from.flatMap(({ maxEventTimeMs }) => maxEventTimeMs ?? []);
  const cards = new Map<string, ReferenceCard>();
  for (const [task, expected] of left.entries()) {
    for (const [key, card] of expected.cards) {
      const to = isSame ? task : partitionOfKey(Buffer.from(key), partitions);
      if (to !== partition) continue;
      const isMoved = to !== task || source !== before.source;
      const recent = isMoved ? card.recent.map(({ value }) => ({ value, offset: MOVED })) : card.recent;
      cards.set(key, { ...card, recent });
    }
  }
  return {
    offset: isCarried ? lineage.committedTo(before, partition) : 0,
    maxEventTimeMs: times.length === 0 ? null : Math.min(...times),
    table: Math.max(...from.map(({ table }) => table)),
    cards,
  };
}
