/**
 * Owns the surroundings of a proof: a broker (its own, or the one that KAFKA_BROKERS names), a working directory, the
 * merchant-risk service, topics with names of their own, and the flags under which services run. All of it is undone by
 * `close`. Neighbours: `runs.ts` runs services in it.
 */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type MerchantRiskService,
  startMerchantRiskService,
} from '../../src/adapters/merchant-risk-http/merchant-risk-service.js';
import { openBackend } from '../../src/app/backend.js';
import { type Configuration, loadConfiguration } from '../../src/app/configuration/index.js';
import { topicSpecs } from '../../src/app/topics.js';
import type { LogBackend, TopicAdmin } from '../../src/stream/ports.js';
import { provenMerchantRisk } from './merchant-risk.js';
import { projectRoot } from './project.js';

/** Where one run reads and writes. */
export interface RunPlace {
  /** Pipeline, group and prefix of transactional ids. */
  readonly name: string;
  readonly configuration: Configuration;
  /** Flags of every service of the run, but for its data directory. */
  readonly flags: readonly string[];
}

export interface Surroundings {
  readonly brokers: readonly string[];
  readonly directory: string;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly partitions: number;
  /** Makes an empty topic for input and tells its full name. */
  inputTopic(name: string): Promise<string>;
  /** Makes the topics of a run that reads `inputTopic`. */
  place(name: string, inputTopic: string, flags?: readonly string[], roles?: string): Promise<RunPlace>;
  /** A file or folder of the working directory. */
  path(...parts: readonly string[]): string;
  /** The working directory shall outlive this process after all. */
  keep(): void;
  close(): Promise<void>;
}

/** Brokers that whoever sets up keeps himself. */
export interface GivenBrokers {
  /** For this process. */
  readonly brokers: readonly string[];
  /** For the services; there may be a proxy before them. */
  readonly serviceBrokers: readonly string[];
  /** Flags of services that say how to connect. */
  readonly serviceFlags: readonly string[];
}

export interface SurroundingsOptions {
  /** Of the broker's listener; its controller takes the next one. Without meaning where brokers are given. */
  readonly port: number;
  readonly given?: (directory: string) => Promise<GivenBrokers & { close(): Promise<void> }>;
  readonly partitions: number;
  /** Keep the working directory (and the topics of a foreign cluster). */
  readonly keep?: boolean;
  /** How long the merchant-risk service takes to answer, ms. */
  readonly riskLatencyMs?: number;
}

/** One secret for all processes: card tokens must agree. Protects nothing, all cards here are made up. */
const CARD_TOKEN_SECRET = 'prove-prove-prove-prove-prove-prove-42';
const DAY_MS = 86_400_000;
const MAX_INPUT_BYTES = 1_100_000;

export async function setUp(options: SurroundingsOptions): Promise<Surroundings> {
  const directory = await mkdtemp(join(tmpdir(), 'prove-'));
  const closing: (() => Promise<unknown>)[] = [];
  try {
    const { close, ...given } = await (options.given?.(directory) ?? broker(options, directory));
    const { brokers } = given;
    closing.push(close);
    const risk = await startMerchantRiskService({
      latencyMs: options.riskLatencyMs ?? 3,
      jitterMs: 2,
      riskOf: provenMerchantRisk,
    });
    closing.push(() => risk.close());
    const files = { directory, kept: options.keep === true };
    closing.push(removedWithUs(files));
    const backend = await openBackend(configurationOf([`--kafka=${brokers.join(',')}`]));
    closing.push(() => backend.close());
    return new OpenSurroundings(options, given, files, backend, await backend.openAdmin(), risk, closing);
  } catch (error) {
    for (const close of closing.reverse()) await close();
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

/** The settings that flags stand for, as the service itself reads them; no file and no variable plays a part. */
export function configurationOf(flags: readonly string[]): Configuration {
  return loadConfiguration({ argv: flags, env: {}, cwd: projectRoot, readFile: () => undefined });
}

interface WorkingDirectory {
  readonly directory: string;
  /** Outlives this process. */
  kept: boolean;
}

/** Also when this process is told to end in the midst of it, once its children are killed. Returns what takes that back. */
function removedWithUs(files: WorkingDirectory): () => Promise<void> {
  const remove = () => {
    if (files.kept) return;
    try {
      rmSync(files.directory, { recursive: true, force: true, maxRetries: 5 });
    } catch (error) {
      // Thrown on, it would keep whoever else ends with us, the brokers' and services' ends among them, from running.
      process.stderr.write(
        `${files.directory} is left behind: ${error instanceof Error ? error.message : String(error)}\n`,
      );
    }
  };
  process.once('exit', remove);
  return async () => void process.removeListener('exit', remove);
}

async function broker({ port }: SurroundingsOptions, directory: string) {
  // Node runs this file as it is; its own folder tells it where the jars lie.
  const source = pathToFileURL(join(projectRoot, 'scripts', 'kafka', 'broker.ts')).href;
  const { locateBroker, startBroker } = (await import(source)) as typeof import('../kafka/broker.js');
  const found = await locateBroker();
  const plain = (brokers: readonly string[]) => ({ brokers, serviceBrokers: brokers, serviceFlags: [] });
  if (found.kind === 'external') return { ...plain(found.brokers), close: async () => {} };
  const started = await startBroker({ directory: join(directory, 'broker'), port, clean: true, heapMb: 768 });
  // What it holds is thrown away: there is nothing to shut down in order.
  return { ...plain(started.brokers), close: () => started.kill() };
}

class OpenSurroundings implements Surroundings {
  /** Unique on a cluster that others use as well. */
  private readonly prefix = `prove-${Date.now().toString(36)}-${process.pid.toString(36)}`;
  private readonly made: string[] = [];

  constructor(
    private readonly options: SurroundingsOptions,
    private readonly given: GivenBrokers,
    private readonly files: WorkingDirectory,
    readonly backend: LogBackend,
    readonly admin: TopicAdmin,
    private readonly risk: MerchantRiskService,
    private readonly closing: (() => Promise<unknown>)[],
  ) {}

  get brokers(): readonly string[] {
    return this.given.brokers;
  }

  get partitions(): number {
    return this.options.partitions;
  }

  keep(): void {
    this.files.kept = true;
  }

  get directory(): string {
    return this.files.directory;
  }

  async inputTopic(name: string): Promise<string> {
    const topic = `${this.prefix}.${name}`;
    const cleanup = 'delete' as const;
    // Payments of years ago: nothing may go by age.
    const kept = { retentionMs: -1, maxRecordBytes: MAX_INPUT_BYTES };
    await this.admin.ensure([{ name: topic, partitions: this.partitions, cleanup, ...kept }]);
    this.made.push(topic);
    return topic;
  }

  async place(name: string, inputTopic: string, flags: readonly string[] = [], roles = 'detector'): Promise<RunPlace> {
    const pipeline = `${this.prefix}-${name}`;
    const topic = (kind: string) => `${this.prefix}.${name}.${kind}`;
    const all = [
      `--roles=${roles}`,
      '--no-demo',
      ...(flags.some((flag) => flag.startsWith('--port=')) ? [] : ['--port=0']),
      `--kafka=${this.given.serviceBrokers.join(',')}`,
      ...this.given.serviceFlags,
      `--pipeline-name=${pipeline}`,
      `--topics-payments=${inputTopic}`,
      `--topics-alerts=${topic('alerts')}`,
      `--topics-dead-letters=${topic('dead-letters')}`,
      `--topics-state-log=${topic('state')}`,
      `--topics-risk-table=${topic('risk-table')}`,
      `--topics-rules=${topic('rules')}`,
      `--topics-rollouts=${topic('rule-rollouts')}`,
      `--topics-labels=${topic('labels')}`,
      `--topics-outbox-log=${topic('outbox-log')}`,
      `--merchant-risk-url=${this.risk.url}`,
      // A lookup that a busy machine holds up must not be answered by a fallback: results would differ by chance.
      '--merchant-risk-timeout-ms=60000',
      // Event time shall follow from the payments alone.
      '--watermark-idle-timeout-ms=0',
      `--card-token-secret=${CARD_TOKEN_SECRET}`,
      // Long, so that at any moment some cards have timers pending.
      `--patterns-card-testing-within-ms=${DAY_MS / 2}`,
      '--terminal-show=off',
      ...flags,
    ];
    const configuration = configurationOf(all);
    const specs = topicSpecs(configuration, this.partitions);
    await this.admin.ensure(specs);
    this.made.push(...specs.map((spec) => spec.name).filter((made) => made !== inputTopic));
    await mkdir(this.path(name), { recursive: true });
    return { name: pipeline, configuration, flags: all };
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  async close(): Promise<void> {
    const keep = this.files.kept;
    const isForeign = process.env.KAFKA_BROKERS !== undefined;
    if (isForeign && !keep) await this.admin.delete(this.made);
    await this.admin.close();
    for (const close of this.closing.reverse()) await close();
    if (!keep) await rm(this.directory, { recursive: true, force: true });
  }
}
