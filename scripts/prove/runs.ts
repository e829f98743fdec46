/**
 * Owns the runs: services on an input, left alone or killed, until everything is committed, and what is looked at then.
 * Neighbours: `setting-up.ts` gives the place, `state-follower.ts` tells how far they are, `compare.ts` judges.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { openFraudPipeline } from '../../src/app/fraud-parts.js';
import { Random } from '../../src/fraud/world/random.js';
import { compare, type Verdict } from './compare.js';
import { type IndependentCounts, independentCount, sumProblems } from './counts.js';
import { partitionsByClient } from './group.js';
import type { LoadedInput } from './load.js';
import { readAlerts, readDeadLetters } from './outputs.js';
import { computeReference, type Reference } from './reference.js';
import { type ServiceProcess, startService } from './service.js';
import type { RunPlace, Surroundings } from './setting-up.js';
import { StateFollower } from './state-follower.js';

/** What a run does to its services. */
export type Disturbance =
  | { readonly kind: 'none' }
  /** kill -9 at random moments, each time started again; every third time its disk is gone too. */
  | { readonly kind: 'kills'; readonly times: number }
  /** Two instances share the group; one is killed and stays away. */
  | { readonly kind: 'takeover' };

export interface RunPlan {
  readonly name: string;
  readonly seed: number;
  readonly disturbance: Disturbance;
  readonly flags?: readonly string[];
}

export interface RunResult extends Verdict {
  readonly name: string;
  /** Messages of the input, malformed ones included. */
  readonly messages: number;
  /** Payments that the cards' state remembers in the end. */
  readonly processed: number;
  readonly epochs: number;
  /** Messages a second from the first commit to the last, time without a service included. */
  readonly messagesPerSecond: number;
  /** From each kill's successor's start (or, at a take-over, from the kill) to the first commit. */
  readonly backAfterMs: readonly number[];
  readonly stopMs: readonly number[];
  /** Counted by kcat; null where that is not installed. */
  readonly independent: IndependentCounts | null;
  /** Everything that is not as it must be, in words; empty is right. */
  readonly problems: readonly string[];
}

/** A start or stop slower than this is a problem of its own. */
const STOP_WITHIN_MS = 5_000;
const PATIENCE_MS = 90_000;
/** Slower than this a run is given up. */
const LEAST_MESSAGES_PER_SECOND = 2_000;
/** A commit so soon after a start is one that the killed process had sent. */
const STRAGGLER_MS = 250;

/** Computes what must come of an input, with the settings of a run on it. */
export async function referenceFor(input: LoadedInput, { configuration }: RunPlace): Promise<Reference> {
  const { url: _, ...merchantRisk } = configuration.merchantRisk;
  const opened = await openFraudPipeline({ ...configuration, merchantRisk });
  try {
    return await computeReference(opened.pipeline, input);
  } finally {
    await opened.close();
  }
}

/** Runs services on `input` in new topics and compares what comes out with `reference`. */
export async function runAndCompare(
  surroundings: Surroundings,
  plan: RunPlan,
  input: LoadedInput,
  reference: Reference,
): Promise<RunResult> {
  const place = await surroundings.place(plan.name, input.topic, plan.flags);
  const { topics } = place.configuration;
  const follower = await StateFollower.open(surroundings.backend, topics.stateLog, input.cards);
  const run = new Run(surroundings, plan, place, input, follower);
  try {
    await run.disturb();
    await run.untilCommitted();
    const stopMs = await run.stop();
    await run.untilRead();
    const problems = [...run.problems, ...follower.problems, ...(await run.lagProblems())];
    const { backend, brokers } = surroundings;
    const alerts = await readAlerts(backend, topics.alerts);
    const deadLetters = await readDeadLetters(backend, topics.deadLetters, input.topic);
    const verdict = compare(reference, { alerts, deadLetters, cards: follower.cards() });
    const independent = await independentCount(brokers, topics);
    const processed = follower.rememberedPayments;
    problems.push(...sumProblems(input.messages, processed, verdict, independent));
    return {
      ...verdict,
      name: plan.name,
      messages: input.messages,
      processed,
      epochs: follower.epochs,
      messagesPerSecond: run.messagesPerSecond(),
      backAfterMs: run.backAfterMs,
      stopMs,
      independent,
      problems: [...problems, ...verdict.differences],
    };
  } finally {
    await run.abandon();
    await follower.close();
  }
}

class Run {
  readonly problems: string[] = [];
  readonly backAfterMs: number[] = [];
  private readonly random: Random;
  private readonly ends: readonly number[];
  private services: ServiceProcess[] = [];
  private started = 0;

  constructor(
    private readonly surroundings: Surroundings,
    private readonly plan: RunPlan,
    private readonly place: RunPlace,
    private readonly input: LoadedInput,
    private readonly follower: StateFollower,
  ) {
    this.random = new Random(plan.seed);
    this.ends = input.offsets.map(({ last }) => last + 1);
  }

  /** Starts services and does to them what the plan says; one of them, at least, goes on. */
  async disturb(): Promise<void> {
    const { disturbance } = this.plan;
    if (disturbance.kind === 'takeover') await this.takeOver();
    else {
      let service = this.start('a', 'data');
      const times = disturbance.kind === 'kills' ? disturbance.times : 0;
      for (const [number, share] of this.moments(times).entries()) {
        // A new data directory: state comes back from the newest checkpoint and the state log behind it.
        const data = `data${'-new'.repeat(Math.floor((number + 2) / 3))}`;
        service = await this.killAndRestart(service, share, data);
      }
    }
  }

  async untilCommitted(): Promise<void> {
    const timeoutMs = PATIENCE_MS + (this.input.messages / LEAST_MESSAGES_PER_SECOND) * 1_000;
    await this.follower.when(() => this.share >= 1, timeoutMs, 'everything to be committed', this.anyEnd);
  }

  /** SIGTERM to all; returns how long each took. */
  async stop(): Promise<readonly number[]> {
    const stopping = this.services;
    this.services = [];
    const ends = await Promise.all(stopping.map((service) => service.stop()));
    for (const { code, signal, tookMs } of ends) {
      if (code !== 0) this.problems.push(`a stop by SIGTERM ended with code ${code}, signal ${signal}`);
      if (tookMs > STOP_WITHIN_MS) this.problems.push(`a stop took ${Math.round(tookMs)} ms`);
    }
    return ends.map(({ tookMs }) => Math.round(tookMs));
  }

  /** What stopping services committed must have been looked at too. */
  async untilRead(): Promise<void> {
    const ranges = await this.surroundings.admin.ranges(this.place.configuration.topics.stateLog);
    const ends = ranges.map(({ end }) => end);
    await this.follower.when(() => this.follower.hasRead(ends), PATIENCE_MS, 'the state log to be read to its end');
  }

  /** The progress shown to lag displays must have come to the end as well. */
  async lagProblems(): Promise<readonly string[]> {
    const progress = await this.surroundings.admin.progress(this.place.configuration.kafka.group, this.input.topic);
    return this.ends.flatMap((end, partition) => {
      const shown = progress.get(partition);
      return shown !== undefined && shown >= end
        ? []
        : [`the group shows offset ${shown} of partition ${partition}, all is committed up to ${end}`];
    });
  }

  messagesPerSecond(): number {
    const { span } = this.follower;
    if (span === null || span.lastMs <= span.firstMs) return 0;
    return Math.round((this.input.messages * 1_000) / (span.lastMs - span.firstMs));
  }

  /** After trouble: nothing goes on running. */
  async abandon(): Promise<void> {
    await Promise.all(this.services.map((service) => service.kill()));
  }

  /** 0 to 1: how much of the input is committed. */
  private get share(): number {
    const { committed } = this.follower;
    let done = 0;
    let all = 0;
    this.ends.forEach((end, partition) => {
      done += Math.min(end, committed[partition]);
      all += end;
    });
    return done / all;
  }

  private get anyEnd(): Promise<never> {
    return Promise.race(this.services.map(({ unexpectedEnd }) => unexpectedEnd));
  }

  private start(instance: string, data: string, ...flags: readonly string[]): ServiceProcess {
    const { surroundings, place, plan } = this;
    const path = (name: string) => surroundings.path(plan.name, name);
    const own = [
      `--data-dir=${path(data)}`,
      // Outlives the data directory, and other instances reach it.
      `--checkpoint-directory=${path('checkpoints')}`,
      `--kafka-client-id=${instance}`,
    ];
    const service = startService([...place.flags, ...own, ...flags], path(`service-${++this.started}.log`));
    this.services.push(service);
    return service;
  }

  /** Rising shares of the input at which something happens, drawn from the seed. */
  private moments(times: number): readonly number[] {
    const slot = 0.85 / Math.max(1, times);
    return Array.from({ length: times }, (_, index) => 0.05 + slot * (index + this.random.unit()));
  }

  private async killAndRestart(service: ServiceProcess, share: number, data: string): Promise<ServiceProcess> {
    await this.killAt(service, share);
    const next = this.start('a', data);
    const isBack = () => this.commitsSince(next.startedAtMs + STRAGGLER_MS).length > 0;
    await this.follower.when(isBack, PATIENCE_MS, 'the first commit after a kill', next.unexpectedEnd);
    this.backAfterMs.push(
      Math.round(Math.min(...this.commitsSince(next.startedAtMs + STRAGGLER_MS)) - next.startedAtMs),
    );
    return next;
  }

  private async takeOver(): Promise<void> {
    const session = '--kafka-session-timeout-ms=6000';
    const instances = ['a', 'b'].map((name) => ({ name, service: this.start(name, `data-${name}`, session) }));
    const victim = this.random.pick(instances);
    const shares = await this.untilShared(instances.length);
    const orphans = shares.get(victim.name) ?? [];
    const killedAtMs = await this.killAt(victim.service, this.random.between(0.3, 0.5));
    const before = orphans.map((partition) => this.follower.newest(partition)?.epoch ?? -1);
    const allWentOn = () =>
      orphans.every((partition, index) => {
        const isDone = this.follower.committed[partition] >= this.ends[partition];
        // One more epoch may be on its way from the one that was killed.
        return isDone || (this.follower.newest(partition)?.epoch ?? -1) > before[index] + 1;
      });
    await this.follower.when(allWentOn, PATIENCE_MS, 'the survivor to go on with all partitions', this.anyEnd);
    this.backAfterMs.push(Math.round(performance.now() - killedAtMs));
  }

  /** Waits until every instance owns some partitions. */
  private async untilShared(instances: number): Promise<ReadonlyMap<string, readonly number[]>> {
    const { brokers } = this.surroundings;
    const { group } = this.place.configuration.kafka;
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const shares = await partitionsByClient(brokers, group, this.input.topic);
      const working = [...shares.values()].filter((partitions) => partitions.length > 0);
      if (working.length === instances) return shares;
      if (this.share >= 1 || performance.now() > deadline) {
        throw new Error(`${instances} instances never shared the partitions in time: take more payments`);
      }
      await sleep(50);
    }
  }

  /** Kills the service soon after the share of the input is committed; returns when. */
  private async killAt(service: ServiceProcess, share: number): Promise<number> {
    await this.follower.when(
      () => this.share >= share,
      PATIENCE_MS * 4,
      `${Math.round(share * 100)} % to be committed`,
      this.anyEnd,
    );
    await sleep(this.random.whole(0, 150));
    if (this.share >= 1) this.problems.push('a kill came too late: everything was committed');
    await service.kill();
    this.services = this.services.filter((other) => other !== service);
    return performance.now();
  }

  /** Times of the newest commits, those after `sinceMs`. */
  private commitsSince(sinceMs: number): readonly number[] {
    return this.ends.flatMap((_, partition) => {
      const newest = this.follower.newest(partition);
      return newest !== null && newest.atMs > sinceMs ? [newest.atMs] : [];
    });
  }
}
