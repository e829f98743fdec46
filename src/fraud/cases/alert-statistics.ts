/**
 * Owns figures about alerts by deciding rule and hour. Neighbours: `src/adapters/postgres/alert-statistics.ts` keeps
 * counts behind {@link AlertStatisticsReader}, the API asks.
 */
import { StreamError } from '../../stream/errors.js';

export const HOUR_MS = 3_600_000;

export interface AlertNumbers {
  readonly alerts: number;
  readonly review: number;
  readonly decline: number;
  /** By disposition, as it is now. */
  readonly fraud: number;
  readonly legitimate: number;
  readonly inconclusive: number;
  /** Without a disposition. */
  readonly undecided: number;
}

/** Of one hour, by `detectedAt`. */
export interface HourNumbers extends AlertNumbers {
  /** When it began, ms since 1970. */
  readonly hour: number;
}

export interface RuleStatistics extends AlertNumbers {
  readonly ruleId: string;
  /** legitimate / (fraud + legitimate), 0 to 1; null where neither was found. */
  readonly falsePositiveShare: number | null;
  /** Oldest first; hours without alerts are left out. */
  readonly hours: readonly HourNumbers[];
}

/** More than an answer can hold. */
export class StatisticsTooLargeError extends StreamError {
  constructor(limit: number) {
    super(
      'statistics-too-large',
      `The range holds more than ${limit} counts by rule and hour; ask for less time, or for one rule.`,
    );
  }
}

export interface AlertStatisticsReader {
  /**
   * Numbers of the hours in [from, to), both whole hours, by rule and hour, ordered by both; hours without alerts are
   * left out. `ruleId` null: all rules.
   * Errors: {@link StatisticsTooLargeError}, code `database-unavailable`.
   */
  counted(
    from: number,
    to: number,
    ruleId: string | null,
  ): Promise<readonly (HourNumbers & { readonly ruleId: string })[]>;
}

/** Puts hours together by rule. They come ordered by rule and hour. */
export function summarise(counted: readonly (HourNumbers & { readonly ruleId: string })[]): readonly RuleStatistics[] {
  const rules = new Map<string, HourNumbers[]>();
  for (const { ruleId, ...hour } of counted) {
    const hours = rules.get(ruleId) ?? [];
    rules.set(ruleId, hours);
    hours.push(hour);
  }
  return [...rules].map(([ruleId, hours]) => {
    const sum = (of: (hour: HourNumbers) => number) => hours.reduce((all, hour) => all + of(hour), 0);
    const fraud = sum((hour) => hour.fraud);
    const legitimate = sum((hour) => hour.legitimate);
    return {
      ruleId,
      alerts: sum(({ alerts }) => alerts),
      review: sum(({ review }) => review),
      decline: sum(({ decline }) => decline),
      fraud,
      legitimate,
      inconclusive: sum(({ inconclusive }) => inconclusive),
      undecided: sum(({ undecided }) => undecided),
      falsePositiveShare: fraud + legitimate === 0 ? null : legitimate / (fraud + legitimate),
      hours,
    };
  });
}
