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
import { byMinute, type Flatness, flatnessOf, MOST_GROWTH_MIB_PER_MINUTE, type Sample } from './verdict.js';

export interface OverloadOptions {
  /** Of all kinds together. */
  readonly minutes: number;
  readonly kinds: readonly OverloadKind[];
  /** Payments a second that come. */
  readonly rate: number;
  readonly cards: number;
  readonly seed: number;
  readonly port: number;
  readonly keep: boolean;
}

type Say = (line: string) => void;

const PORT = 19_520;
const PARTITIONS = 2;
const SESSION_MS = 10_000;
/** In ordinary conditions, before the overload begins: write buffers of the state stores fill up meanwhile. */
const ORDINARY_MS = 45_000;
/** What is left in the end, in seconds of the feed: with less, nothing was overloaded. */
const LEAST_LAG_SECONDS = 10;

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
  };
}

/** Overloads one kind after the other, each with processes of its own. True: all stayed flat and went on committing. */
export async function proveOverload(options: OverloadOptions, say: Say): Promise<boolean> {
  const durationMs = (options.minutes * 60_000) / options.kinds.length;
  let isRight = true;
  for (const kind of options.kinds) {
    const overload = await openOverload(kind);
    try {
      isRight = (await prove(overload, durationMs, options, say)) && isRight;
    } finally {
      await overload.close();
    }
  }
  say(isRight ? 'flat: memory did not grow under any overload' : 'NOT FLAT, see above');
  return isRight;
}

async function prove(overload: Overload, durationMs: number, options: OverloadOptions, say: Say): Promise<boolean> {
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
    const samples = await overloaded(stage, overload, durationMs, options);
    say(`${overload.what}; ${options.rate} payments/s come; load average ${loadavg()[0]?.toFixed(1)}`);
    return tell(samples, overload.slowsReading ? options.rate * LEAST_LAG_SECONDS : 0, say);
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
  durationMs: number,
  { rate, cards, seed }: OverloadOptions,
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
    return await sampleFor(durationMs, stage, { services, follower, alerts });
  } finally {
    for (const end of ending.reverse()) await end();
  }
}

/** Prints table and verdict. `leastLag`: records that must be left in the end, or it was no overload. */
function tell(samples: readonly Sample[], leastLag: number, say: Say): boolean {
  const processes = [...new Set(samples.flatMap(({ rssMiB }) => [...rssMiB.keys()]))];
  say(minuteTable(samples, processes));
  const verdicts = processes.map((process) => flatnessOf(process, samples));
  for (const verdict of verdicts) say(tellFlatness(verdict));
  const { committed = 0, lag = 0 } = samples.at(-1) ?? {};
  const wentOn = committed > (samples[0]?.committed ?? 0);
  if (!wentOn) say('  NOTHING WAS COMMITTED under the overload');
  const isOverload = lag >= leastLag;
  if (!isOverload) say(`  NO OVERLOAD: only ${lag} records were left, ${leastLag} are the least: raise --rate`);
  return wentOn && isOverload && verdicts.every(({ isFlat }) => isFlat);
}

function minuteTable(samples: readonly Sample[], processes: readonly string[]): string {
  const head = ['minute', ...processes.map((process) => `${process} MiB (most)`), 'payments/s', 'lag', 'alerts'];
  const rows = byMinute(samples).map(({ number, rssMiB, perSecond, lag, alerts }) => [
    String(number),
    ...processes.map((process) => {
      const memory = rssMiB.get(process);
      return memory === undefined ? '-' : `${memory.mean.toFixed(0)} (${memory.most.toFixed(0)})`;
    }),
    perSecond.toFixed(0),
    String(lag),
    String(alerts),
  ]);
  return aligned([head, ...rows]).join('\n');
}

function tellFlatness({ process, isFlat, ...verdict }: Flatness): string {
  const { firstHalfMiB, lastHalfMiB, growthMiBPerMinute, growthUncertainty } = verdict;
  const figures = `mean ${firstHalfMiB.toFixed(0)} MiB, then ${lastHalfMiB.toFixed(0)} MiB; ${growthMiBPerMinute.toFixed(1)} ± ${growthUncertainty.toFixed(1)} MiB/min`;
  return `  ${process}: ${isFlat ? 'flat' : 'NOT FLAT'}: ${figures} (at most + 10 % and ${MOST_GROWTH_MIB_PER_MINUTE} MiB/min)`;
}
