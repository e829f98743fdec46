/**
 * Owns what a task tells of the rules it runs. A take-up is written in the very epoch in which a rule set took effect,
 * so the log itself proves which payment was decided under which set. Neighbours: `live-rules.ts` emits, the API's
 * roll-out view and the proofs read.
 */
import { z } from 'zod';
import type { OutputRecord } from '../../stream/records.js';

export const takeUpSchema = z.object({
  kind: z.literal('take-up'),
  taskId: z.string(),
  partition: z.int().min(0),
  /** The set in force from `fromOffset` of the source partition on. */
  ruleSet: z.object({ version: z.int().min(0), hash: z.string() }),
  fromOffset: z.int().min(0),
  /** ms since 1970. */
  at: z.number(),
  /** Set where the newest record of the rules topic could not be used: the set before it stays in force. */
  refused: z.object({ version: z.int().nullable(), reason: z.string() }).nullable(),
});
export type TakeUp = z.infer<typeof takeUpSchema>;

/** A breaker's: the rule failed too often in this task, which no longer evaluates this version of it. */
export const ruleTripSchema = z.object({
  kind: z.literal('rule-trip'),
  taskId: z.string(),
  partition: z.int().min(0),
  ruleId: z.string(),
  ruleVersion: z.int().min(1),
  /** The set in force when it tripped: a trip of before the rule was brought live again must not pause it again. */
  ruleSetVersion: z.int().min(0),
  failures: z.int().min(1),
  evaluations: z.int().min(1),
  /** Of the last failure, in plain words. */
  reason: z.string(),
  fromOffset: z.int().min(0),
  at: z.number(),
});
export type RuleTrip = z.infer<typeof ruleTripSchema>;

export const rolloutRecordSchema = z.discriminatedUnion('kind', [takeUpSchema, ruleTripSchema]);
export type RolloutRecord = z.infer<typeof rolloutRecordSchema>;

/** Keys of the compacted topic: the newest take-up of a task, and the newest trip of a rule in a task. */
export function rolloutKey(record: RolloutRecord): string {
  return record.kind === 'take-up' ? record.taskId : `${record.taskId}/${record.ruleId}`;
}

/** As a record of the roll-outs topic: newest by key. */
export function rolloutRecord(record: RolloutRecord, topic: string): OutputRecord {
  return {
    topic,
    partition: 0,
    key: Buffer.from(rolloutKey(record), 'utf8'),
    value: Buffer.from(JSON.stringify(record), 'utf8'),
    headers: [],
    timestampMs: record.at,
  };
}
