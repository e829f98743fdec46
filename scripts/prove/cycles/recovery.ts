/**
 * Owns `npm run prove -- recovery`: with the state of very many cards, how soon is everything committed again after a
 * kill -9: by the same process started again, by another instance, by one that kept itself warm, and on an empty disk.
 * Neighbours: `stage.ts` sets up, `live-feed.ts` pays, `recovery-report.ts` prints.
 *
 * Times count from the start of the process (restart, empty disk) or from the kill (take-over) to the first commit of a
 * source record that was written after that moment: in the first partition concerned, and in the last one.
 */
import { rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../../src/fraud/world/random.js';
import { partitionOfKey } from '../../../src/stream/partitioning.js';
import { partitionsByClient } from '../group.js';
import type { InputMessage } from '../input.js';
import { configurationOf } from '../setting-up.js';
import { StateFollower } from '../state-follower.js';
import { PATIENCE_MS, sourceEnds } from './cycle.js';
import { LiveFeed } from './live-feed.js';
import { type RecoveryReport, tellRecovery } from './recovery-report.js';
import type { ServiceSlot } from './service-slot.js';
import { openStage, type Stage } from './stage.js';

export interface RecoveryOptions {
  readonly cards: number;
  readonly seed: number;
  /** Payments a second while it is measured. */
  readonly rate: number;
  /** How often the restart is measured, and how often each of the others. */
  readonly restarts: number;
  readonly others: number;
  readonly partitions: number;
  readonly standbySessionMs: number;
  readonly port: number;
  readonly keep: boolean;
}

export interface Back {
  readonly firstMs: number;
  readonly allMs: number;
}

type Say = (line: string) => void;

const LOAD_CHUNK = 4_000;
const LOAD_MS = 1_800_000;
/** After a start or a take-over, before the next kill: dirty state is written, standbys catch up. */
const SETTLE_MS = 4_000;
const STANDBY_WARM_MS = 15_000;

/** Prints as it goes. Errors: what did not come back in time. */
export async function proveRecovery(options: RecoveryOptions, say: Say): Promise<RecoveryReport> {
  const { port, partitions, keep } = options;
  const stage = await openStage({
    port,
    partitions,
    brokers: 1,
    secure: false,
    proxied: false,
    instances: 0,
    // The default of the service.
    sessionTimeoutMs: 7_000,
    keep,
    projector: false,
    smallDisks: false,
    flags: [],
  });
  try {
    return await new RecoveryProof(stage, options, say).run();
  } catch (error) {
    stage.surroundings.keep();
    say(`logs of services and broker: ${stage.surroundings.directory}`);
    throw error;
  } finally {
    await stage.close();
  }
}

class RecoveryProof {
  private readonly random: Random;
  private readonly ending: (() => Promise<unknown>)[] = [];

  constructor(
    private readonly stage: Stage,
    private readonly options: RecoveryOptions,
    private readonly say: Say,
  ) {
    this.random = new Random(options.seed);
  }

  async run(): Promise<RecoveryReport> {
    const { options, say, stage } = this;
    try {
      const first = await stage.slot('service-a', ['--kafka-group-instance-id=a']);
      const follower = await this.begin(first);
      const restart = await this.times('restart', options.restarts, () => this.restart(first, follower));
      const emptyDisk = await this.times('empty disk', options.others, () => this.restart(first, follower, true));
      const second = await stage.slot('service-b', ['--kafka-group-instance-id=b']);
      const takeover = await this.takeovers('take-over', [first, second], follower, 0);
      const warm = await this.warmTakeovers([first, second], follower);
      const report = {
        seed: options.seed,
        cards: options.cards,
        load: loadavg()[0] ?? 0,
        measured: { restart, 'empty disk': emptyDisk, 'take-over': takeover, 'warm take-over': warm },
        problems: [...follower.problems],
      };
      say(tellRecovery(report));
      return report;
    } finally {
      for (const end of this.ending.reverse()) await end();
    }
  }

  /** Fills the state with all cards, waits for a checkpoint that has them, and lets payments flow. */
  private async begin(service: ServiceSlot): Promise<StateFollower> {
    const { stage, options, say } = this;
    const { surroundings, place, source } = stage;
    const { backend } = surroundings;
    const none = Array.from({ length: options.partitions }, () => 0);
    const follower = await StateFollower.open(backend, place.configuration.topics.stateLog, none);
    this.ending.push(() => follower.close());
    const writer = await backend.openWriter();
    this.ending.push(() => writer.close());
    service.start();
    const startedAtMs = performance.now();
    for (let from = 0; from < options.cards; from += LOAD_CHUNK) {
      const timestampMs = Date.now();
      const count = Math.min(LOAD_CHUNK, options.cards - from);
      const messages = Array.from({ length: count }, (_, index) => this.payment(from + index, timestampMs));
      await writer.write(messages.map((message) => ({ ...message, topic: source, headers: [], timestampMs })));
    }
    const ends = await sourceEnds(stage);
    const reached = (offsets: readonly number[]) => ends.every((end, partition) => offsets[partition] >= end);
    await follower.when(() => reached(follower.committed), LOAD_MS, 'all cards to be committed');
    say(`${options.cards} cards paid once in ${Math.round((performance.now() - startedAtMs) / 1_000)} s`);
    const feed = LiveFeed.start({ writer, topic: source, perSecond: options.rate, messages: this.payments() });
    this.ending.push(() => feed.stop());
    // While payments flow: a pipeline without any makes no checkpoints.
    await follower.when(() => reached(follower.checkpointed), LOAD_MS, 'a checkpoint of all cards');
    say(`a checkpoint holds them; ${options.rate} payments/s flow, load average ${loadavg()[0]?.toFixed(1)}`);
    return follower;
  }

  private async times(name: string, times: number, once: () => Promise<Back>): Promise<readonly Back[]> {
    const all: Back[] = [];
    for (let time = 1; time <= times; time++) {
      const back = await once();
      all.push(back);
      this.say(`${name} ${time}/${times}: first ${Math.round(back.firstMs)}, all ${Math.round(back.allMs)} ms`);
      await sleep(SETTLE_MS + this.random.whole(0, 2_000));
    }
    return all;
  }

  private async restart(service: ServiceSlot, follower: StateFollower, withoutDisk = false): Promise<Back> {
    await service.kill();
    if (withoutDisk) await rm(service.dataDirectory, { recursive: true, force: true, maxRetries: 5 });
    service.start();
    return this.back(follower, service.startedAtMs);
  }

  /** One of the two is killed and stays away until the other has everything going. */
  private async takeovers(
    name: string,
    services: readonly ServiceSlot[],
    follower: StateFollower,
    settleMs: number,
  ): Promise<readonly Back[]> {
    return this.times(name, this.options.others, async () => {
      for (const service of services) service.start();
      const shares = await this.untilShared(services);
      await sleep(settleMs);
      const victim = this.random.pick(services);
      await victim.kill();
      return this.back(follower, victim.diedAtMs, shares.get(victim.name));
    });
  }

  private async warmTakeovers(before: readonly ServiceSlot[], follower: StateFollower): Promise<readonly Back[]> {
    const { stage, options, say } = this;
    const flags = [`--standbys=1`, `--kafka-session-timeout-ms=${options.standbySessionMs}`];
    if (!isUnderstood(flags)) {
      say('this build has no standbys: the warm take-over is not measured');
      return [];
    }
    await Promise.all(before.map((service) => service.stop()));
    const warm: ServiceSlot[] = [];
    for (const name of ['service-c', 'service-d']) {
      warm.push(await stage.slot(name, [...flags, `--kafka-group-instance-id=${name}`]));
    }
    return this.takeovers('warm take-over', warm, follower, STANDBY_WARM_MS);
  }

  /** Times until what is written from now on is committed, in all partitions or only those `of` interest. */
  private async back(follower: StateFollower, sinceMs: number, of?: readonly number[]): Promise<Back> {
    const ends = await sourceEnds(this.stage);
    const allAtMs = await follower.passed(ends, PATIENCE_MS, 'all partitions to commit again');
    const atMs = allAtMs.filter((_, partition) => of === undefined || of.includes(partition));
    return { firstMs: Math.min(...atMs) - sinceMs, allMs: Math.max(...atMs) - sinceMs };
  }

  /** Waits until each of them owns partitions; by name of the service. */
  private async untilShared(services: readonly ServiceSlot[]): Promise<ReadonlyMap<string, readonly number[]>> {
    const { surroundings, place, source } = this.stage;
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const shares = await partitionsByClient(surroundings.brokers, place.configuration.kafka.group, source);
      if (services.every(({ name }) => (shares.get(name)?.length ?? 0) > 0)) return shares;
      if (performance.now() > deadline) throw new Error('the instances never shared the partitions');
      await sleep(100);
    }
  }

  private async *payments(): AsyncGenerator<InputMessage> {
    for (;;) yield this.payment(this.random.whole(0, this.options.cards - 1), Date.now());
  }

  private payment(card: number, occurredAt: number): InputMessage {
    const cardId = `card-${card}`;
    const paymentId = `p-${card}-${occurredAt}`;
    const amountMinor = this.random.whole(100, 9_000);
    const merchantId = `merchant-${this.random.whole(0, 499)}`;
    const payment = { paymentId, cardId, merchantId, amountMinor, currency: 'EUR', occurredAt, channel: 'ecom' };
    const key = Buffer.from(cardId);
    const partition = partitionOfKey(key, this.options.partitions);
    return { partition, key, value: Buffer.from(JSON.stringify(payment)), bad: null };
  }
}

function isUnderstood(flags: readonly string[]): boolean {
  try {
    configurationOf(flags);
    return true;
  } catch {
    // A setting that this build does not have yet.
    return false;
  }
}
