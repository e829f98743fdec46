/**
 * Owns sums that must come out at the end of a run, and the count by a program that shares no code with this one.
 * Neighbours: `runs.ts` and `cycles/verdict.ts` add what is wrong to their problems.
 */
import type { Verdict } from './compare.js';
import { countWithKcat } from './outputs.js';

/** What kcat counts. */
export interface IndependentCounts {
  readonly alerts: number;
  readonly distinct: number;
  readonly deadLetters: number;
}

/** Null where kcat is not installed. */
export async function independentCount(
  brokers: readonly string[],
  topics: { readonly alerts: string; readonly deadLetters: string },
): Promise<IndependentCounts | null> {
  const alerts = await countWithKcat(brokers, topics.alerts, 'ce_id');
  const deadLetters = await countWithKcat(brokers, topics.deadLetters, 'source.offset');
  if (alerts === null || deadLetters === null) return null;
  return { alerts: alerts.records, distinct: alerts.distinct, deadLetters: deadLetters.records };
}

/** `messages` in the source are `processed` payments and dead letters; and both readers count the same. In words. */
export function sumProblems(
  messages: number,
  processed: number,
  { deadLetters, alerts, distinctAlerts }: Verdict,
  independent: IndependentCounts | null,
): readonly string[] {
  const problems: string[] = [];
  if (messages !== processed + deadLetters) {
    problems.push(`${messages} messages are not ${processed} processed + ${deadLetters} dead letters`);
  }
  if (independent === null) return problems;
  const counted = [independent.alerts, independent.distinct, independent.deadLetters];
  const read = [alerts, distinctAlerts, deadLetters];
  if (counted.some((count, index) => count !== read[index])) {
    problems.push(`kcat counts ${counted} alerts, distinct alerts, dead letters; the project's reader ${read}`);
  }
  return problems;
}
