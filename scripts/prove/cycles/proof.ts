/**
 * Owns `npm run prove -- --cycles N`: payments flow all along through real Kafka into real processes of the service; in
 * each cycle something is killed, paused, cut or filled up and healed again; every {@link LOOK_EVERY} cycles and at the
 * end an oracle says what must have come of the payments. The first thing that is wrong ends it.
 * Neighbours: `stage.ts` sets up, `cycle.ts` plays one cycle, `verdict.ts` judges, `report.ts` prints.
 */
import { loadavg } from 'node:os';
import { openFraudPipeline } from '../../../src/app/fraud-parts.js';
import type { Nemesis } from '../nemeses/nemesis.js';
import { StateFollower } from '../state-follower.js';
import { type CycleResult, nemesisOf, PATIENCE_MS, playCycle, sourceEnds } from './cycle.js';
import { feedCards, LiveFeed, worldMessages } from './live-feed.js';
import { Oracle } from './oracle.js';
import { type CyclesReport, tellCycle, tellReport } from './report.js';
import { openStage, type Stage } from './stage.js';
import { judge } from './verdict.js';

export interface CyclesOptions {
  readonly cycles: number;
  readonly seed: number;
  readonly instances: number;
  /** Those to take turns. */
  readonly nemeses: readonly Nemesis[];
  readonly brokers: 1 | 3;
  readonly secure: boolean;
  readonly rate: number;
  readonly cards: number;
  readonly standbys: number;
  readonly sessionTimeoutMs: number;
  readonly partitions: number;
  readonly keep: boolean;
  readonly port: number;
}

type Say = (line: string) => void;

const LOOK_EVERY = 50;
/** So little memory that the state store takes part, and checkpoints all the time, kept long enough to be followed. */
const FLAGS = [
  '--memory-hot-keys=1024',
  '--batch-max-records=256',
  '--checkpoint-interval-ms=2000',
  '--checkpoint-min-pause-ms=200',
  '--checkpoint-retained=5',
];
const DAY_MS = 86_400_000;

/** Plays the cycles and prints; resolves with what came of it. Errors: what could not be set up. */
export async function proveCycles(options: CyclesOptions, say: Say): Promise<CyclesReport> {
  const { nemeses, brokers, secure, instances, sessionTimeoutMs, partitions, keep, port, standbys } = options;
  const stage = await openStage({
    port,
    partitions,
    brokers,
    secure,
    instances,
    sessionTimeoutMs,
    keep,
    projector: true,
    smallDisks: nemeses.some(({ name }) => name.includes('disk')),
    flags: [
      ...FLAGS,
      // Asked once for each merchant and process: a lookup that a strike breaks off would make results differ.
      `--merchant-risk-cache-expiry-ms=${DAY_MS}`,
      ...(standbys > 0 ? [`--standbys=${standbys}`] : []),
    ],
  });
  const proof = new CyclesProof(stage, options, say);
  try {
    return await proof.run();
  } catch (error) {
    stage.surroundings.keep();
    say(`logs of services and brokers: ${stage.surroundings.directory}`);
    throw error;
  } finally {
    await proof.end();
    await stage.close();
  }
}

class CyclesProof {
  private readonly results: CycleResult[] = [];
  private readonly skipped = new Map<string, string>();
  private readonly ending: (() => Promise<unknown>)[] = [];

  constructor(
    private readonly stage: Stage,
    private readonly options: CyclesOptions,
    private readonly say: Say,
  ) {}

  async run(): Promise<CyclesReport> {
    const { stage, options, say } = this;
    const startedAtMs = performance.now();
    const nemeses = this.possible();
    const { follower, feed, oracle } = await this.begin();
    let problems: readonly string[] = [];
    for (let number = 1; number <= options.cycles && problems.length === 0; number++) {
      const nemesis = nemesisOf(nemeses, options.seed, number);
      try {
        const playing = playCycle(stage, follower, nemesis, options.seed, number);
        const result = await Promise.race([playing, feed.failed]);
        this.results.push(result);
        say(tellCycle(result, options.cycles));
      } catch (cause) {
        const where = `seed ${options.seed}, cycle ${number}, ${nemesis.name}`;
        throw new Error(`${where}: ${messageOf(cause)}${this.ownEnds()}`, { cause });
      }
      problems = follower.problems;
      if (number % LOOK_EVERY === 0 && number < options.cycles)
        problems = [...problems, ...(await this.look(follower, oracle, number))];
    }
    const cyclesMs = performance.now() - startedAtMs;
    await feed.stop();
    const ends = await sourceEnds(stage);
    const isCommitted = () => ends.every((end, partition) => follower.committed[partition] >= end);
    await follower.when(isCommitted, PATIENCE_MS, 'everything to be committed');
    say(`the feed has stopped: ${feed.acknowledged} messages acknowledged, ${feed.doubtful} in doubt; judging`);
    const verdict = await judge(stage, follower, oracle, ends);
    const all = [...problems, ...this.feedProblems(feed, oracle), ...verdict.problems];
    const report: CyclesReport = {
      seed: options.seed,
      cycles: this.results,
      skipped: [...this.skipped].map(([nemesis, why]) => ({ nemesis, why })),
      seconds: cyclesMs / 1_000,
      load: loadavg()[0] ?? 0,
      ...verdict,
      problems: all,
    };
    say(tellReport(report));
    if (all.length > 0) {
      stage.surroundings.keep();
      say(`logs of services and brokers: ${stage.surroundings.directory}`);
    }
    return report;
  }

  /** Nothing of it goes on. */
  async end(): Promise<void> {
    for (const end of this.ending.reverse())
      await end().catch((error: unknown) => this.say(`ending: ${messageOf(error)}`));
  }

  /** Starts services and the feed; resolves once all partitions commit. */
  private async begin() {
    const { stage, options, say } = this;
    const { surroundings, place, source, slots, extra } = stage;
    const { backend, admin } = surroundings;
    const {
      topics,
      merchantRisk: { url: _, ...merchantRisk },
      ...rest
    } = place.configuration;
    const opened = await openFraudPipeline({ ...rest, topics, merchantRisk });
    this.ending.push(() => opened.close());
    const { partitions, cards, seed, rate } = options;
    const most = mostCards(cards, partitions);
    const follower = await StateFollower.open(
      backend,
      topics.stateLog,
      Array.from({ length: partitions }, () => most),
    );
    this.ending.push(() => follower.close());
    const { pipeline } = opened;
    const oracle = await Oracle.open({
      backend,
      admin,
      pipeline,
      source,
      alerts: topics.alerts,
      partitions,
      cards: most,
    });
    this.ending.push(() => oracle.close());
    for (const slot of slots) if (slot !== extra) slot.start();
    const writer = await backend.openWriter();
    this.ending.push(() => writer.close());
    const feed = LiveFeed.start({
      writer,
      topic: source,
      perSecond: rate,
      messages: worldMessages({ seed, cards, partitions, rate }),
    });
    this.ending.push(() => feed.stop());
    await follower
      .passed(await sourceEnds(stage), PATIENCE_MS, 'the first commits of all partitions')
      .catch((cause) => {
        throw new Error(`${messageOf(cause)}${this.ownEnds()}`, { cause });
      });
    say(`all partitions commit at ${rate} payments/s; load average ${loadavg()[0]?.toFixed(1)}`);
    return { follower, feed, oracle };
  }

  /** The newest processes that ended by themselves, in words. */
  private ownEnds(): string {
    const ends = this.stage.slots.flatMap(({ ownEnds }) => ownEnds.slice(-2));
    return ends
      .map(({ service, code, lastLine }) => `\n  ${service} ended by itself (code ${code}): ${lastLine}`)
      .join('');
  }

  private possible(): readonly Nemesis[] {
    const { stage, options, say } = this;
    const possible = options.nemeses.filter((nemesis) => {
      const why = nemesis.impossible(stage.arena);
      if (why === null) return true;
      this.skipped.set(nemesis.name, why);
      say(`${nemesis.name} is left out: ${why}`);
      return false;
    });
    if (possible.length === 0) throw new Error('none of the nemeses can strike here');
    return possible;
  }

  private async look(follower: StateFollower, oracle: Oracle, number: number): Promise<readonly string[]> {
    const { say } = this;
    const startedAtMs = performance.now();
    const problems = await oracle.look(follower.committed, (offsets) =>
      follower.when(
        () => offsets.every((offset, partition) => follower.committed[partition] >= offset),
        PATIENCE_MS,
        'what the oracle has read to be committed',
      ),
    );
    const tookMs = Math.round(performance.now() - startedAtMs);
    say(
      `after ${number} cycles: ${oracle.messages} messages, ${oracle.found.length} alerts, ${follower.epochs} epochs: ` +
        `${problems.length === 0 ? 'right so far' : 'WRONG'} (${tookMs} ms)`,
    );
    return problems;
  }

  /** What the brokers acknowledged is there, and nothing that was never sent. */
  private feedProblems(feed: LiveFeed, oracle: Oracle): readonly string[] {
    const { acknowledged, doubtful } = feed;
    if (oracle.messages >= acknowledged && oracle.messages <= acknowledged + doubtful) return [];
    return [
      `the source holds ${oracle.messages} messages: ${acknowledged} were acknowledged and ${doubtful} are in doubt; the brokers lost or doubled some`,
    ];
  }
}

/** Of a partition: hashing does not spread them evenly. */
const mostCards = (cards: number, partitions: number) => Math.ceil((feedCards(cards) / partitions) * 1.25) + 200;

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
