/**
 * Owns the judgement of an overload, and the table by minute: pure functions over samples.
 *
 * The rule. The first {@link WARM_UP_MS} of the overload are warm-up. For each process of the service
 * 1. the straight line through its resident memory after that (least squares over means of 10 s) rises by no more than
 *    {@link MOST_GROWTH_MIB_PER_MINUTE}; garbage collections make memory swing, so twice the line's standard error is told
 *    beside it, but not taken off;
 * 2. its resident memory never passed the configured budget, warm-up included.
 * And it was an overload: what is left to do grew in every whole minute after the warm-up, while work went on. A buffer
 * without a bound fails: what the feed brings and nobody works off is tens of MiB a minute.
 * Neighbours: `sampling.ts` takes the samples, `proof.ts` prints.
 */

export interface Sample {
  /** Since the overload began. */
  readonly atMs: number;
  /** By process, MiB. */
  readonly memory: ReadonlyMap<string, ProcessMemory>;
  /** Source records committed so far, those written that are not, and alerts so far. */
  readonly committed: number;
  readonly lag: number;
  readonly alerts: number;
  /** Alerts stored in the database so far; null where none is used. */
  readonly stored: number | null;
}

export interface ProcessMemory {
  /** As the kernel tells it. */
  readonly rssMiB: number;
  /** Of all V8 heaps of the process, by its own metrics, pages held; null before it first answered. */
  readonly heapMiB: number | null;
  /** Outside the heaps, held by objects in them: columns, buffers. */
  readonly externalMiB: number | null;
}

export interface Flatness {
  readonly process: string;
  readonly growthMiBPerMinute: number;
  /** Twice the standard error of that. */
  readonly growthUncertainty: number;
  /** After the warm-up. */
  readonly meanMiB: number;
  /** Warm-up included. */
  readonly mostMiB: number;
  readonly budgetMiB: number;
  readonly isFlat: boolean;
}

export const MOST_GROWTH_MIB_PER_MINUTE = 2;
export const WARM_UP_MS = 120_000;
const MINUTE_MS = 60_000;
/** Seconds after the warm-up; fewer say nothing. */
const LEAST_SAMPLES = 60;
const MEAN_OF_MS = 10_000;

/** Errors: too few samples of the process after the warm-up. */
export function flatnessOf(process: string, samples: readonly Sample[], budgetMiB: number): Flatness {
  const all = samples.flatMap(({ atMs, memory }) => {
    const found = memory.get(process);
    return found === undefined ? [] : [{ atMs, minute: atMs / MINUTE_MS, mib: found.rssMiB }];
  });
  const points = all.filter(({ atMs }) => atMs >= WARM_UP_MS);
  if (points.length < LEAST_SAMPLES) {
    throw new Error(`${process}: ${points.length} samples after the warm-up are too few to judge: take more minutes`);
  }
  const { slope: growthMiBPerMinute, error } = line(means(points));
  const mostMiB = Math.max(...all.map(({ mib }) => mib));
  return {
    process,
    growthMiBPerMinute,
    growthUncertainty: 2 * error,
    meanMiB: mean(points.map(({ mib }) => mib)),
    mostMiB,
    budgetMiB,
    isFlat: growthMiBPerMinute <= MOST_GROWTH_MIB_PER_MINUTE && mostMiB <= budgetMiB,
  };
}

export interface Minute {
  readonly number: number;
  /** Less than a minute, at the end. */
  readonly isWhole: boolean;
  readonly memory: ReadonlyMap<string, { readonly mean: number; readonly most: number; readonly heap: number | null }>;
  readonly perSecond: number;
  /** At its end. */
  readonly lag: number;
  readonly alerts: number;
  /** Alerts that wait for the database at its end; null where none is used. */
  readonly unstored: number | null;
}

export function byMinute(samples: readonly Sample[]): readonly Minute[] {
  // The sample of the full minute is its last one.
  const minutes = Map.groupBy(samples, ({ atMs }) => Math.floor((atMs - 500) / MINUTE_MS));
  let before: Sample | null = null;
  return [...minutes].map(([number, within]) => {
    const first = before ?? within[0];
    const last = within[within.length - 1];
    before = last;
    const processes = new Set(within.flatMap(({ memory }) => [...memory.keys()]));
    const memory = new Map([...processes].map((process) => [process, overMinute(process, within)] as const));
    const seconds = Math.max(1, (last.atMs - first.atMs) / 1_000);
    return {
      number: number + 1,
      isWhole: last.atMs - number * MINUTE_MS >= MINUTE_MS - 2_000,
      memory,
      perSecond: (last.committed - first.committed) / seconds,
      lag: last.lag,
      alerts: last.alerts - first.alerts,
      unstored: last.stored === null ? null : last.alerts - last.stored,
    };
  });
}

function overMinute(process: string, within: readonly Sample[]) {
  const found = within.flatMap(({ memory }) => memory.get(process) ?? []);
  const rss = found.map(({ rssMiB }) => rssMiB);
  const heaps = found.flatMap(({ heapMiB }) => heapMiB ?? []);
  return { mean: mean(rss), most: Math.max(...rss), heap: heaps.length === 0 ? null : mean(heaps) };
}

/**
 * Why these minutes are no overload of the reading (`database` false) or of the database (true), in words; none where
 * they are one.
 */
export function objections(minutes: readonly Minute[], database: boolean, mostLag: number): readonly string[] {
  const judged = minutes.filter(({ number, isWhole }) => isWhole && number * MINUTE_MS > WARM_UP_MS);
  return judged.flatMap((minute) => {
    const before = minutes.find(({ number }) => number === minute.number - 1);
    const found: string[] = [];
    const [left, leftBefore] = database ? [minute.unstored, before?.unstored] : [minute.lag, before?.lag];
    if ((left ?? 0) <= (leftBefore ?? 0)) found.push(`minute ${minute.number}: what is left did not grow`);
    if (minute.perSecond <= 0) found.push(`minute ${minute.number}: nothing was committed`);
    if (database && minute.lag > mostLag) {
      found.push(`minute ${minute.number}: detection was held up too: ${minute.lag} records left, ${mostLag} at most`);
    }
    return found;
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
