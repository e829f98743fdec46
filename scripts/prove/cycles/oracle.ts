/**
 * Owns the judgement over a feed that nobody wrote down: it reads what lies in the source topic, offset by offset, lets the
 * plain reference work it through, and compares that with the alerts, committed records only. Both are read on from
 * where they were left, so a look in between costs what has come since.
 * Neighbours: `../reference.ts` computes, `../compare.ts` compares, `proof.ts` says when.
 *
 * O1 The source is the topic's bytes, not what the feed believes it wrote. The feed writes outside Kafka transactions, so
 *    every offset from 0 on is a message: a reader that passes one over is found out here.
 */
import type { FraudPipeline } from '../../../src/fraud/pipeline.js';
import type { LogBackend, PartitionReader, TopicAdmin } from '../../../src/stream/ports.js';
import type { RecordBatch } from '../../../src/stream/records.js';
import { compareAlertsSoFar } from '../compare.js';
import type { AlertOutcome } from '../outcome.js';
import { copy, readAlert, readTo } from '../outputs.js';
import { type Reference, RunningReference } from '../reference.js';

export interface OracleOptions {
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  /** What the services run, opened from the same settings. */
  readonly pipeline: FraudPipeline;
  readonly source: string;
  readonly alerts: string;
  readonly partitions: number;
  /** Cards that can pay in a partition at most. */
  readonly cards: number;
}

export class Oracle {
  readonly found: AlertOutcome[] = [];
  /** Messages taken in. */
  messages = 0;

  private constructor(
    private readonly options: OracleOptions,
    private readonly reference: RunningReference,
    private readonly sources: readonly PartitionReader[],
    private readonly alerts: readonly PartitionReader[],
  ) {}

  static async open(options: OracleOptions): Promise<Oracle> {
    const { pipeline, partitions, cards, backend, admin } = options;
    const reference = await RunningReference.open(
      pipeline,
      Array.from({ length: partitions }, () => cards),
    );
    const readers = async (topic: string) => {
      const count = (await admin.ranges(topic)).length;
      const opening = Array.from({ length: count }, (_, partition) =>
        backend.openReader({ topic, partition, from: 'earliest' }),
      );
      return Promise.all(opening);
    };
    return new Oracle(options, reference, await readers(options.source), await readers(options.alerts));
  }

  /**
   * Whether the alerts of everything before these source offsets, and of a little more, are right. `untilCommitted`
   * resolves when everything before the offsets that it gets is committed. Returns what is not right, in words.
   */
  async look(
    upTo: readonly number[],
    untilCommitted: (offsets: readonly number[]) => Promise<void>,
  ): Promise<readonly string[]> {
    await this.takeIn(upTo);
    await untilCommitted(this.sources.map(({ position }) => position));
    await this.readAlerts();
    return compareAlertsSoFar(await this.reference.alertsSoFar(), this.found);
  }

  /** Takes in the source up to its ends, and all alerts: what must have come of it. */
  async finish(ends: readonly number[]): Promise<Reference> {
    await this.takeIn(ends);
    await this.readAlerts();
    return this.reference.finish();
  }

  async close(): Promise<void> {
    for (const reader of [...this.sources, ...this.alerts]) await reader.close();
  }

  private async takeIn(ends: readonly number[]): Promise<void> {
    for (const [partition, reader] of this.sources.entries()) {
      let next = reader.position;
      await readTo(reader, ends[partition], async (batch) => {
        next = await this.add(partition, batch, next);
      });
    }
  }

  /** Returns the offset that must come next. */
  private async add(partition: number, batch: RecordBatch, from: number): Promise<number> {
    let next = from;
    for (let index = 0; index < batch.count; index++) {
      const offset = batch.offset[index];
      // O1
      if (offset !== next)
        throw new Error(`source partition ${partition}: offset ${offset} was read where ${next} was due`);
      next += 1;
      const [key, value] = [copy(batch.key(index)), copy(batch.value(index))];
      await this.reference.add(partition, { key, value, offset, timestampMs: batch.timestampMs[index] });
    }
    this.messages += batch.count;
    return next;
  }

  private async readAlerts(): Promise<void> {
    const topic = this.options.alerts;
    for (const { partition, end } of await this.options.admin.ranges(topic)) {
      await readTo(this.alerts[partition], end, (batch) => {
        for (let index = 0; index < batch.count; index++) {
          this.found.push(readAlert(topic, batch.value(index), batch.headers(index)));
        }
      });
    }
  }
}
