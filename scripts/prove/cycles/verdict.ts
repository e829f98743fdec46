/**
 * Owns the end of a proof by cycles: the feed has stopped, everything is committed, services are told to stop, and all that
 * they left is compared with the reference. Neighbours: `oracle.ts` has reference and alerts, `rows.ts` looks at
 * Postgres, `../compare.ts` compares, `report.ts` prints.
 */
import kafkajs from 'kafkajs';
import { kafkajsConfigOf, settingsOf } from '../../../src/adapters/kafka/options.js';
import { backendOptions } from '../../../src/app/backend.js';
import { compare, type Verdict } from '../compare.js';
import { type IndependentCounts, independentCount, sumProblems } from '../counts.js';
import { readDeadLetters } from '../outputs.js';
import { configurationOf, type Surroundings } from '../setting-up.js';
import type { StateFollower } from '../state-follower.js';
import { PATIENCE_MS } from './cycle.js';
import type { Oracle } from './oracle.js';
import { compareRows, untilProjected } from './rows.js';
import type { Stage } from './stage.js';

export interface CyclesVerdict extends Verdict {
  readonly messages: number;
  readonly payments: number;
  readonly timerAlerts: number;
  readonly late: number;
  readonly expectedAlerts: number;
  readonly epochs: number;
  /** Null where no Postgres took part. */
  readonly rows: number | null;
  readonly badRows: number;
  /** Counted by kcat; null where that is not installed. */
  readonly independent: IndependentCounts | null;
  /** Slowest stop by SIGTERM at the end, ms. */
  readonly stopMs: number;
  /** Everything that is not as it must be, in words; empty is right. */
  readonly problems: readonly string[];
}

const STOP_WITHIN_MS = 10_000;
const STARTS_WITHIN_MS = 10_000;

/** `ends`: of the source, which no longer grows. Everything before them is committed. */
export async function judge(
  stage: Stage,
  follower: StateFollower,
  oracle: Oracle,
  ends: readonly number[],
): Promise<CyclesVerdict> {
  const { surroundings, place, source, arena } = stage;
  const { backend, admin } = surroundings;
  const { topics } = place.configuration;
  const endsOf = async (topic: string) => (await admin.ranges(topic)).map(({ end }) => end);
  if (arena.postgres !== null) {
    await untilProjected(arena.postgres.url, topics.alerts, await endsOf(topics.alerts), PATIENCE_MS);
  }
  const stopMs = await stopAll(stage);
  const stateEnds = await endsOf(topics.stateLog);
  await follower.when(() => follower.hasRead(stateEnds), PATIENCE_MS, 'the state log to be read to its end');

  const reference = await oracle.finish(ends);
  const deadLetters = await readDeadLetters(backend, topics.deadLetters, source);
  const verdict = compare(reference, { alerts: oracle.found, deadLetters, cards: follower.cards() });
  const rows = arena.postgres === null ? null : await compareRows(arena.postgres.url, oracle.found);
  const independent = await independentCount(surroundings.brokers, topics);
  const outputs = [topics.alerts, topics.deadLetters, topics.stateLog, topics.rollouts];
  const problems = [
    ...stopProblems(stage),
    ...follower.problems,
    ...(await openTransactions(surroundings, outputs)),
    ...sumProblems(oracle.messages, follower.rememberedPayments, verdict, independent),
    ...verdict.differences,
    ...(rows?.differences ?? []),
  ];
  return {
    ...verdict,
    messages: oracle.messages,
    payments: reference.payments,
    timerAlerts: reference.timerAlerts,
    late: reference.late,
    expectedAlerts: reference.alerts.size,
    epochs: follower.epochs,
    rows: rows?.rows ?? null,
    badRows: rows?.wrong ?? 0,
    independent,
    stopMs,
    problems,
  };
}

/** SIGTERM to all that run; the slowest one's time, ms. */
async function stopAll({ slots }: Stage): Promise<number> {
  const startedAtMs = performance.now();
  await Promise.all(slots.map((slot) => slot.stop()));
  return Math.round(performance.now() - startedAtMs);
}

/** Of every stop by SIGTERM, those of nemeses too. */
function stopProblems({ slots }: Stage): readonly string[] {
  return slots
    .flatMap(({ stops }) => stops)
    .flatMap(({ service, exit, ageMs }) => {
      const { code, signal, tookMs } = exit;
      // Stopped before its first line ran, which is where it begins to listen for signals.
      if (signal === 'SIGTERM' && ageMs < STARTS_WITHIN_MS) return [];
      if (code !== 0) return [`${service}: a stop by SIGTERM ended with code ${code}, signal ${signal}`];
      return tookMs > STOP_WITHIN_MS ? [`${service}: a stop by SIGTERM took ${Math.round(tookMs)} ms`] : [];
    });
}

/** At rest, the committed end of every partition is its end: else a Kafka transaction was left open. */
async function openTransactions(surroundings: Surroundings, topics: readonly string[]): Promise<readonly string[]> {
  const options = backendOptions(configurationOf([`--kafka=${surroundings.brokers.join(',')}`]));
  if (options.kind !== 'kafka') throw new Error('brokers select Kafka');
  const kafka = new kafkajs.Kafka(kafkajsConfigOf(settingsOf(options.options))).admin();
  await kafka.connect();
  try {
    const open: string[] = [];
    for (const topic of topics) {
      const written = new Map(
        (await kafka.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, Number(high)]),
      );
      for (const { partition, end } of await surroundings.admin.ranges(topic)) {
        if (written.get(partition) === end) continue;
        open.push(
          `${topic}-${partition} is committed up to ${end} and ends at ${written.get(partition)}: a Kafka transaction is open`,
        );
      }
    }
    return open;
  } finally {
    await kafka.disconnect();
  }
}
