/**
 * Owns the judgement whether memory stayed flat, and the table by minute: pure functions over samples.
 *
 * The rule. The first quarter, and 45 s at least, is warm-up. Of the rest, the last half's mean must not be more than
 * 10 % above the first half's; and the straight line through it (least squares over means of 10 s) must not be known to
 * rise by more than {@link MOST_GROWTH_MIB_PER_MINUTE}: garbage collections make memory swing, so twice the line's standard
 * error is taken off. A buffer without a bound fails: what the feed brings and nobody works off is tens of MiB a minute.
 * Neighbours: `sampling.ts` takes the samples, `proof.ts` prints.
 */

export interface Sample {
  /** Since the overload began. */
  readonly atMs: number;
  /** Resident memory by process, MiB; a process that did not run is missing. */
  readonly rssMiB: ReadonlyMap<string, number>;
  /** Source records committed so far, those written that are not, and alerts so far. */
  readonly committed: number;
  readonly lag: number;
  readonly alerts: number;
}

export interface Flatness {
  readonly process: string;
  readonly firstHalfMiB: number;
  readonly lastHalfMiB: number;
  readonly mostMiB: number;
  readonly growthMiBPerMinute: number;
  /** Twice the standard error of that. */
  readonly growthUncertainty: number;
  readonly isFlat: boolean;
}

export const MOST_GROWTH_MIB_PER_MINUTE = 6;
const MOST_RATIO = 1.1;
const WARM_UP_SHARE = 0.25;
const LEAST_WARM_UP_MS = 45_000;
const MINUTE_MS = 60_000;
/** Fewer after the warm-up say nothing. */
const LEAST_SAMPLES = 30;
const MEAN_OF_MS = 10_000;

/** Errors: too few samples of the process after the warm-up. */
export function flatnessOf(process: string, samples: readonly Sample[]): Flatness {
  const lastMs = samples.at(-1)?.atMs ?? 0;
  const warmMs = Math.max(LEAST_WARM_UP_MS, lastMs * WARM_UP_SHARE);
  const points = samples.flatMap(({ atMs, rssMiB }) => {
    const mib = rssMiB.get(process);
    return mib === undefined || atMs < warmMs ? [] : [{ minute: atMs / MINUTE_MS, mib }];
  });
  if (points.length < LEAST_SAMPLES) {
    throw new Error(`${process}: ${points.length} samples after the warm-up are too few to judge: take more minutes`);
  }
  const half = Math.floor(points.length / 2);
  const firstHalfMiB = mean(points.slice(0, half).map(({ mib }) => mib));
  const lastHalfMiB = mean(points.slice(half).map(({ mib }) => mib));
  const { slope: growthMiBPerMinute, error } = line(means(points));
  const growthUncertainty = 2 * error;
  const isFlat =
    lastHalfMiB <= firstHalfMiB * MOST_RATIO && growthMiBPerMinute - growthUncertainty <= MOST_GROWTH_MIB_PER_MINUTE;
  const mostMiB = Math.max(...points.map(({ mib }) => mib));
  return { process, firstHalfMiB, lastHalfMiB, mostMiB, growthMiBPerMinute, growthUncertainty, isFlat };
}

export interface Minute {
  readonly number: number;
  readonly rssMiB: ReadonlyMap<string, { readonly mean: number; readonly most: number }>;
  readonly perSecond: number;
  readonly lag: number;
  readonly alerts: number;
}

export function byMinute(samples: readonly Sample[]): readonly Minute[] {
  const minutes = Map.groupBy(samples, ({ atMs }) => Math.floor(atMs / MINUTE_MS));
  let before: Sample | null = null;
  return [...minutes].map(([number, within]) => {
    const first = before ?? within[0];
    const last = within[within.length - 1];
    before = last;
    const processes = new Set(within.flatMap(({ rssMiB }) => [...rssMiB.keys()]));
    const rssMiB = new Map(
      [...processes].map((process) => {
        const values = within.flatMap((sample) => sample.rssMiB.get(process) ?? []);
        return [process, { mean: mean(values), most: Math.max(...values) }];
      }),
    );
    const seconds = Math.max(1, (last.atMs - first.atMs) / 1_000);
    const perSecond = (last.committed - first.committed) / seconds;
    return { number: number + 1, rssMiB, perSecond, lag: last.lag, alerts: last.alerts - first.alerts };
  });
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

interface Point {
  readonly minute: number;
  readonly mib: number;
}

/** Of every ten seconds: neighbouring samples lie on the same swing and are not worth one each. */
function means(points: readonly Point[]): readonly Point[] {
  return [...Map.groupBy(points, ({ minute }) => Math.floor((minute * MINUTE_MS) / MEAN_OF_MS)).values()].map(
    (some) => ({
      minute: mean(some.map(({ minute }) => minute)),
      mib: mean(some.map(({ mib }) => mib)),
    }),
  );
}

/** The slope of the straight line through the points (least squares), and its standard error. */
function line(points: readonly Point[]): { readonly slope: number; readonly error: number } {
  const middle = mean(points.map(({ minute }) => minute));
  const level = mean(points.map(({ mib }) => mib));
  const together = points.reduce((sum, { minute, mib }) => sum + (minute - middle) * (mib - level), 0);
  const alone = points.reduce((sum, { minute }) => sum + (minute - middle) ** 2, 0);
  if (alone === 0 || points.length < 3) return { slope: 0, error: 0 };
  const slope = together / alone;
  const off = points.reduce((sum, { minute, mib }) => sum + (mib - level - slope * (minute - middle)) ** 2, 0);
  return { slope, error: Math.sqrt(off / (points.length - 2) / alone) };
}
