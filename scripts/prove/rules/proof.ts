/**
 * Owns `npm run prove -- rules`: rules are changed through the API while payments flow through real Kafka, the service
 * is killed in mid roll-out, and afterwards the log must show that every payment was decided under one whole rule set
 * and every expected alert exists once. Neighbours: `payments.ts` pays, `roll-out-watch.ts` measures, `check.ts` judges.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../../../bench/process-figures.js';
import { decodeAlert } from '../../../src/fraud/alerts/encode-alert.js';
import { Random } from '../../../src/fraud/world/random.js';
import { readTopic } from '../outputs.js';
import { type ServiceProcess, startService } from '../service.js';
import { type RunPlace, type Surroundings, setUp } from '../setting-up.js';
import { AdminClient, type PublishedRuleSet } from './admin-client.js';
import { checkRules } from './check.js';
import { MARKED_AMOUNT_MINOR, PacedPayments } from './payments.js';
import { RollOutWatch } from './roll-out-watch.js';

export interface RulesProofOptions {
  readonly seed: number;
  readonly changes: number;
  readonly kills: number;
  readonly paymentsPerSecond: number;
  readonly keep: boolean;
}

const BROKER_PORT = 19_492;
const API_PORT = 19_496;
const PARTITIONS = 4;
const PAUSE_MS = 700;
const ROLL_OUT_MS = 30_000;
const MARKERS = ['proof-marker-a', 'proof-marker-b'] as const;

/** Another text each time, always the same verdict: the marked payments. */
const condition = (change: number) => `payment.amountMinor == ${MARKED_AMOUNT_MINOR} && score >= -${change}.0`;

/** Prints what it finds; whether all of it is right. */
export async function proveRules(options: RulesProofOptions, say: (line: string) => void): Promise<boolean> {
  const surroundings = await setUp({ port: BROKER_PORT, partitions: PARTITIONS, keep: options.keep });
  try {
    return await new RulesProof(options, surroundings, say).run();
  } finally {
    if (options.keep) say(`kept: ${surroundings.directory}`);
    await surroundings.close();
  }
}

class RulesProof {
  private readonly random: Random;
  private readonly apiKey = randomBytes(24).toString('hex');
  private readonly admin = new AdminClient(`http://127.0.0.1:${API_PORT}`, this.apiKey);
  private readonly rollOutMs: number[] = [];
  private readonly throughKillMs: number[] = [];
  private service: ServiceProcess | null = null;

  constructor(
    private readonly options: RulesProofOptions,
    private readonly surroundings: Surroundings,
    private readonly say: (line: string) => void,
  ) {
    this.random = new Random(options.seed);
  }

  async run(): Promise<boolean> {
    const { surroundings, say, options } = this;
    const input = await surroundings.inputTopic('rules-input');
    const place = await this.place(input);
    const { topics } = place.configuration;
    const writer = await surroundings.backend.openWriter();
    const watch = await RollOutWatch.open(surroundings.backend, topics.rollouts);
    let payments: PacedPayments | null = null;
    try {
      await this.start(place);
      for (const id of MARKERS) await this.admin.addRule(id, condition(0));
      const before = await this.admin.currentRuleSet();
      await watch.allRun(before.version, PARTITIONS, ROLL_OUT_MS);
      payments = new PacedPayments(writer, input, options.paymentsPerSecond, this.random);
      say(`${options.paymentsPerSecond} payments/s flow, load average ${loadavg()[0]?.toFixed(1)}`);
      await sleep(2_000);
      for (let change = 1; change <= options.changes; change++) await this.change(change, watch);
      for (let kill = 1; kill <= options.kills; kill++) await this.killInRollOut(kill, place, watch);
      await sleep(1_000);
      await payments.stop();
      await this.caughtUp(place);
      const ruleSets = await this.ruleSets();
      const ended = await this.service?.stop();
      const alerts = (await readTopic(surroundings.backend, topics.alerts)).map(({ value }) => decodeAlert(value));
      const { takeUps } = watch;
      const marked = new Set(payments.marked);
      const problems = [...checkRules({ alerts, takeUps, ruleSets, marked, markerRules: MARKERS })];
      if (ended?.code !== 0) problems.push(`the service ended with code ${ended?.code}`);
      this.tell(payments, alerts.length, takeUps.length, ruleSets.size);
      for (const problem of problems) say(`WRONG: ${problem}`);
      say(`seed ${options.seed}: ${problems.length === 0 ? 'right' : 'WRONG'}`);
      return problems.length === 0;
    } finally {
      await payments?.stop();
      await this.service?.kill();
      await watch.stop();
      await writer.close();
    }
  }

  private async place(input: string): Promise<RunPlace> {
    await mkdir(this.surroundings.path('rules-service'), { recursive: true });
    await writeFile(this.keyFile, this.apiKey, { mode: 0o600 });
    return this.surroundings.place('rules', input, [`--port=${API_PORT}`, '--no-rules-four-eyes'], 'all');
  }

  private get keyFile(): string {
    return this.surroundings.path('rules-service', 'api-key');
  }

  private async start(place: RunPlace): Promise<void> {
    const directory = this.surroundings.path('rules-service');
    const own = [`--data-dir=${directory}/data`, `--access-api-key-file=${this.keyFile}`];
    this.service = startService([...place.flags, ...own], `${directory}/service.log`);
    await Promise.race([this.admin.ready(), this.service.unexpectedEnd]);
  }

  /** From the request's start to the last task's take-up, committed and read. */
  private async change(change: number, watch: RollOutWatch): Promise<void> {
    const id = MARKERS[change % MARKERS.length] ?? MARKERS[0];
    const { version, etag } = await this.admin.changeRule(id, condition(change));
    const startedAt = performance.now();
    await this.admin.activate(id, version, etag);
    const { version: ruleSet } = await this.admin.currentRuleSet();
    this.rollOutMs.push((await watch.allRun(ruleSet, PARTITIONS, ROLL_OUT_MS)) - startedAt);
    await sleep(PAUSE_MS + this.random.whole(0, 300));
  }

  /** Killed between the answer to the change and its last take-up, some ms in. */
  private async killInRollOut(kill: number, place: RunPlace, watch: RollOutWatch): Promise<void> {
    const id = MARKERS[kill % MARKERS.length] ?? MARKERS[0];
    const { version, etag } = await this.admin.changeRule(id, condition(this.options.changes + kill));
    await this.admin.activate(id, version, etag);
    const changedAt = performance.now();
    await sleep(this.random.whole(0, 60));
    await this.service?.kill();
    await this.start(place);
    const { version: ruleSet } = await this.admin.currentRuleSet();
    this.throughKillMs.push((await watch.allRun(ruleSet, PARTITIONS, ROLL_OUT_MS)) - changedAt);
    await sleep(PAUSE_MS);
  }

  private async caughtUp({ configuration }: RunPlace): Promise<void> {
    const { admin } = this.surroundings;
    const { topics, kafka } = configuration;
    const deadline = performance.now() + 120_000;
    for (;;) {
      const progress = await admin.progress(kafka.group ?? configuration.pipeline.name, topics.payments);
      const ranges = await admin.ranges(topics.payments);
      if (ranges.every(({ partition, end }) => (progress.get(partition) ?? -1) >= end)) return;
      if (performance.now() > deadline) throw new Error('the service does not catch up');
      await sleep(200);
    }
  }

  private async ruleSets(): Promise<ReadonlyMap<number, PublishedRuleSet>> {
    const { version: newest } = await this.admin.currentRuleSet();
    const found = new Map<number, PublishedRuleSet>();
    for (let version = 1; version <= newest; version++) found.set(version, await this.admin.ruleSet(version));
    return found;
  }

  private tell(payments: PacedPayments, alerts: number, takeUps: number, ruleSets: number): void {
    const ms = (values: readonly number[], share: number) =>
      values.length === 0
        ? '–'
        : quantile(
            [...values].sort((a, b) => a - b),
            share,
          ).toFixed(0);
    const { say, rollOutMs, throughKillMs } = this;
    say(
      `payments ${payments.written}, marked ${payments.marked.length}, alerts ${alerts}, rule sets ${ruleSets}, take-ups ${takeUps}`,
    );
    say(
      `activation sent → in force in all ${PARTITIONS} tasks, ms: p50 ${ms(rollOutMs, 0.5)}, p99 ${ms(rollOutMs, 0.99)}, max ${ms(rollOutMs, 1)} of ${rollOutMs.length}`,
    );
    say(
      `the same through a kill -9 in mid roll-out and a restart, ms: ${throughKillMs.map((value) => value.toFixed(0)).join(', ') || '–'}`,
    );
    say(`load average ${loadavg()[0]?.toFixed(1)}; the payer was ${payments.worstLagMs.toFixed(0)} ms late at worst`);
  }
}
