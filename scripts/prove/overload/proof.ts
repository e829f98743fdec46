/**
 * Owns `npm run prove -- overload`: payments come faster than they can be handled, because the broker, the database or the
 * merchant-risk lookup is slow or away; the service must slow its reading down and not grow. A table by minute shows
 * memory, payments a second, what is left and alerts; `verdict.ts` holds the rule of what is flat.
 * Neighbours: `kinds.ts` overloads, `sampling.ts` looks, `../cycles` lends the stage and the feed.
 */
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { PATIENCE_MS, sourceEnds } from '../cycles/cycle.js';
import { feedCards, LiveFeed, worldMessages } from '../cycles/live-feed.js';
import { aligned } from '../cycles/report.js';
import { openStage, type Stage } from '../cycles/stage.js';
import { UsageError, wholeNumber } from '../flags.js';
import { StateFollower } from '../state-follower.js';
import { OVERLOADS, type Overload, type OverloadKind, openOverload } from './kinds.js';
import { Counter, sampleFor } from './sampling.js';
import {
  byMinute,
  type Flatness,
  flatnessOf,
  type Minute,
  MOST_GROWTH_MIB_PER_MINUTE,
  objections,
  type Sample,
  WARM_UP_MS,
} from './verdict.js';

export interface OverloadOptions {
  /** Of each kind. */
  readonly minutes: number;
  readonly kinds: readonly OverloadKind[];
  /** Payments a second that come. */
  readonly rate: number;
  readonly cards: number;
  readonly seed: number;
  readonly port: number;
  readonly keep: boolean;
  /** File that gets the report; null: none. */
  readonly json: string | null;
}

type Say = (line: string) => void;

const PORT = 19_700;
const PARTITIONS = 2;
const SESSION_MS = 10_000;
const MINUTE_MS = 60_000;
/** In ordinary conditions, before the overload begins: write buffers of the state stores fill up meanwhile, which a slow run would do in minutes. */
const ORDINARY_MS = 60_000;
/** What detection may leave while the database alone is slow, in seconds of the feed. */
const MOST_LAG_SECONDS = 10;

export function readOverloadOptions(argv: readonly string[]): OverloadOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      minutes: { type: 'string' },
      kind: { type: 'string', default: 'all' },
      rate: { type: 'string' },
      cards: { type: 'string' },
      seed: { type: 'string' },
      port: { type: 'string' },
      keep: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const kinds = OVERLOADS.filter((kind) => values.kind === 'all' || values.kind === kind);
  if (kinds.length === 0) {
    throw new UsageError(`there is no overload ${values.kind}; there are ${OVERLOADS.join(', ')} and all`);
  }
  return {
    minutes: wholeNumber('minutes', values.minutes, 10, 1),
    kinds,
    rate: wholeNumber('rate', values.rate, 2_500, 1),
    cards: wholeNumber('cards', values.cards, 5_000, 1),
    seed: wholeNumber('seed', values.seed, 1, 0),
    port: wholeNumber('port', values.port, PORT, 1),
    keep: values.keep,
    json: values.json ?? null,
  };
}

export interface OverloadReport {
  readonly options: Omit<OverloadOptions, 'json' | 'keep'>;
  readonly rule: { readonly warmUpMs: number; readonly mostGrowthMiBPerMinute: number };
  readonly kinds: readonly KindReport[];
  /** None where memory stayed flat under true overloads. */
  readonly problems: readonly string[];
}

interface KindReport {
  readonly kind: OverloadKind;
  readonly what: string;
  readonly loadAverage: number;
  readonly processes: readonly Flatness[];
  readonly minutes: readonly (Omit<Minute, 'memory'> & { readonly memory: object })[];
  readonly problems: readonly string[];
}

/** Overloads one kind after the other, each with processes of its own. */
export async function proveOverload(options: OverloadOptions, say: Say): Promise<OverloadReport> {
  const kinds: KindReport[] = [];
  for (const kind of options.kinds) {
    const overload = await openOverload(kind);
    try {
      kinds.push(await prove(kind, overload, options, say));
    } finally {
      await overload.close();
    }
  }
  const problems = kinds.flatMap(({ kind, problems: found }) => found.map((problem) => `${kind}: ${problem}`));
  say(problems.length === 0 ? 'flat: memory did not grow under any overload' : 'NOT FLAT, see above');
  const { json: _, keep: __, ...asked } = options;
  const rule = { warmUpMs: WARM_UP_MS, mostGrowthMiBPerMinute: MOST_GROWTH_MIB_PER_MINUTE };
  return { options: asked, rule, kinds, problems };
}

async function prove(kind: OverloadKind, overload: Overload, options: OverloadOptions, say: Say): Promise<KindReport> {
  const stage = await openStage({
    port: options.port,
    partitions: PARTITIONS,
    brokers: 1,
    secure: false,
    instances: 1,
    sessionTimeoutMs: SESSION_MS,
    keep: options.keep,
    projector: overload.needsDatabase,
    smallDisks: false,
    flags: overload.flags,
  });
  try {
    const samples = await overloaded(stage, overload, options, say);
    const loadAverage = loadavg()[1] ?? 0;
    say(`${overload.what}; ${options.rate} payments/s come; load average ${loadAverage.toFixed(1)}`);
    const { budgetMiB } = stage.place.configuration.memory;
    return { kind, what: overload.what, loadAverage, ...judge(samples, overload, options.rate, budgetMiB, say) };
  } catch (error) {
    stage.surroundings.keep();
    say(`logs of services and brokers: ${stage.surroundings.directory}`);
    throw error;
  } finally {
    await stage.close();
  }
}

async function overloaded(
  stage: Stage,
  overload: Overload,
  { minutes, rate, cards, seed }: OverloadOptions,
  say: Say,
): Promise<readonly Sample[]> {
  const { surroundings, place, source, detectors, projector } = stage;
  const { backend } = surroundings;
  const { topics } = place.configuration;
  const services = [...detectors, ...(projector === null ? [] : [projector])];
  const most = Array.from({ length: PARTITIONS }, () => feedCards(cards));
  const ending: (() => Promise<unknown>)[] = [];
  try {
    const follower = await StateFollower.open(backend, topics.stateLog, most);
    ending.push(() => follower.close());
    const alerts = await Counter.open(backend, topics.alerts, PARTITIONS);
    ending.push(() => alerts.close());
    for (const service of services) service.start();
    const writer = await backend.openWriter();
    ending.push(() => writer.close());
    const messages = worldMessages({ partitions: PARTITIONS, rate, cards, seed });
    const feed = LiveFeed.start({ writer, topic: source, perSecond: rate, messages });
    ending.push(() => feed.stop());
    await follower.passed(await sourceEnds(stage), PATIENCE_MS, 'the first commits of all partitions');
    await sleep(ORDINARY_MS);
    const end = await overload.begin(stage);
    ending.push(end);
    return await sampleFor(minutes * MINUTE_MS, stage, { services, follower, alerts }, minutely(say));
  } finally {
    for (const end of ending.reverse()) await end();
  }
}

/** Says a line a minute: these runs are long. */
function minutely(say: Say): (sample: Sample) => void {
  let dueMs = MINUTE_MS;
  return (sample) => {
    if (sample.atMs < dueMs) return;
    dueMs += MINUTE_MS;
    sayProgress(sample, say);
  };
}

function sayProgress({ atMs, memory, lag, stored, alerts }: Sample, say: Say): void {
  const each = [...memory].map(([process, { rssMiB, heapMiB, externalMiB }]) => {
    const inside = heapMiB === null ? '' : ` (heaps ${heapMiB.toFixed(0)}, outside ${externalMiB?.toFixed(0)})`;
    return `${process} ${rssMiB.toFixed(0)} MiB${inside}`;
  });
  const waiting = stored === null ? '' : `, ${alerts - stored} alerts not stored`;
  say(`  ${Math.round(atMs / 1_000)} s: ${each.join(', ')}; ${lag} left${waiting}`);
}

/** Prints table and verdict. */
function judge(
  samples: readonly Sample[],
  { needsDatabase }: Overload,
  rate: number,
  budgetMiB: number,
  say: Say,
): Pick<KindReport, 'processes' | 'minutes' | 'problems'> {
  const names = [...new Set(samples.flatMap(({ memory }) => [...memory.keys()]))];
  const minutes = byMinute(samples);
  say(minuteTable(minutes, names));
  const processes = names.map((name) => flatnessOf(name, samples, budgetMiB));
  for (const flatness of processes) say(`  ${tellFlatness(flatness)}`);
  const against = objections(minutes, needsDatabase, rate * MOST_LAG_SECONDS);
  for (const problem of against) say(`  NO OVERLOAD: ${problem}`);
  const grown = processes.filter(({ isFlat }) => !isFlat).map(tellFlatness);
  return {
    processes,
    minutes: minutes.map((minute) => ({ ...minute, memory: Object.fromEntries(minute.memory) })),
    problems: [...against, ...grown],
  };
}

function minuteTable(minutes: readonly Minute[], processes: readonly string[]): string {
  const stores = minutes.some(({ unstored }) => unstored !== null);
  const head = [
    'minute',
    ...processes.map((process) => `${process} MiB (most; heaps)`),
    'payments/s',
    'left',
    'alerts',
  ];
  const rows = minutes.map(({ number, memory, perSecond, lag, alerts, unstored }) => [
    String(number),
    ...processes.map((process) => {
      const found = memory.get(process);
      if (found === undefined) return '-';
      return `${found.mean.toFixed(0)} (${found.most.toFixed(0)}; ${found.heap?.toFixed(0) ?? '-'})`;
    }),
    perSecond.toFixed(0),
    String(lag),
    String(alerts),
    ...(stores ? [String(unstored)] : []),
  ]);
  return aligned([[...head, ...(stores ? ['not stored'] : [])], ...rows]).join('\n');
}

function tellFlatness({ process, isFlat, ...verdict }: Flatness): string {
  const { meanMiB, mostMiB, budgetMiB, growthMiBPerMinute, growthUncertainty } = verdict;
  return (
    `${process}: ${isFlat ? 'flat' : 'NOT FLAT'}: mean ${meanMiB.toFixed(0)} MiB, ` +
    `${growthMiBPerMinute.toFixed(2)} ± ${growthUncertainty.toFixed(2)} MiB/min (${MOST_GROWTH_MIB_PER_MINUTE} at most), ` +
    `most ${mostMiB.toFixed(0)} MiB (budget ${budgetMiB})`
  );
}
