/**
 * Owns what cycles are played on: brokers with a proxy before them, topics, a Postgres, the slots of the services with
 * their flags, and the arena made of it that nemeses strike in. Nothing runs in the slots yet.
 * Neighbours: `../setting-up.ts` (working directory, merchant-risk service, flags), `../../kafka/cluster.ts`,
 * `proof.ts` plays on it.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { KafkaCluster } from '../../kafka/cluster.js';
import { SmallDisk } from '../disk.js';
import type { Arena } from '../nemeses/nemesis.js';
import { OwnPostgres } from '../postgres-control.js';
import { projectRoot } from '../project.js';
import { KafkaProxy } from '../proxy.js';
import { runCommand } from '../service.js';
import { type GivenBrokers, type RunPlace, type Surroundings, setUp } from '../setting-up.js';
import { ServiceSlot } from './service-slot.js';

export interface StageOptions {
  /** First of the ports taken: brokers up to + 29, Postgres + 40. */
  readonly port: number;
  readonly partitions: number;
  readonly brokers: 1 | 3;
  readonly secure: boolean;
  readonly instances: number;
  readonly sessionTimeoutMs: number;
  readonly keep: boolean;
  /** Whether alerts are brought into Postgres, by a process of its own. */
  readonly projector: boolean;
  /** Whether a proxy stands before the brokers; true where left out. */
  readonly proxied?: boolean;
  /** Flags of every detector. */
  readonly flags: readonly string[];
  /** Whether each detector's data directory lies on a small disk of its own, which needs root. */
  readonly smallDisks: boolean;
}

export interface Stage {
  readonly surroundings: Surroundings;
  readonly place: RunPlace;
  readonly source: string;
  readonly arena: Arena;
  readonly cluster: KafkaCluster;
  readonly detectors: readonly ServiceSlot[];
  readonly extra: ServiceSlot;
  readonly projector: ServiceSlot | null;
  /** All slots. */
  readonly slots: readonly ServiceSlot[];
  /** Another slot for a detector, with these flags on top; `name` makes its directory. */
  slot(name: string, flags: readonly string[]): Promise<ServiceSlot>;
  /** Ends everything; what is in the slots is killed. */
  close(): Promise<void>;
}

const POSTGRES_PORT = 40;
/** The service starts on no less than 256 MiB. */
const DISK_MIB = 400;

export async function openStage(options: StageOptions): Promise<Stage> {
  const closing: (() => Promise<unknown>)[] = [];
  let cluster: KafkaCluster | null = null;
  let proxy: KafkaProxy | null = null;
  const given = async (directory: string): Promise<GivenBrokers & { close(): Promise<void> }> => {
    const started = await startCluster(options, directory);
    cluster = started;
    const { brokers, serviceBrokers, routes } = started;
    const opened = routes.length > 0 ? await KafkaProxy.open({ routes, seesRequests: !options.secure }) : null;
    proxy = opened;
    const close = async () => {
      await opened?.close();
      await started.close();
    };
    return { brokers, serviceBrokers, serviceFlags: securityFlags(started), close };
  };
  const { port, partitions, keep } = options;
  const surroundings = await setUp({ port, partitions, keep, given });
  closing.push(() => surroundings.close());
  try {
    if (cluster === null) throw new Error('setting up did not ask for brokers');
    const postgres = options.projector
      ? await OwnPostgres.open({ directory: surroundings.path('postgres'), port: port + POSTGRES_PORT })
      : null;
    if (postgres !== null) closing.push(() => postgres.close());
    return await new Building(options, surroundings, cluster, proxy, postgres, closing).build();
  } catch (error) {
    for (const close of closing.reverse()) await close();
    throw error;
  }
}

async function startCluster(
  { port, brokers, secure, proxied = true }: StageOptions,
  directory: string,
): Promise<KafkaCluster> {
  // Node runs this file as it is; its own folder tells it where the jars lie.
  const source = pathToFileURL(join(projectRoot, 'scripts', 'kafka', 'cluster.ts')).href;
  const { openCluster } = (await import(source)) as typeof import('../../kafka/cluster.js');
  return openCluster({ directory: join(directory, 'brokers'), port, brokers, secure, proxied });
}

function securityFlags({ security }: KafkaCluster): readonly string[] {
  if (security === null) return [];
  const { caFile, mechanism, username, password } = security;
  return [
    `--kafka-ssl-ca-file=${caFile}`,
    `--kafka-sasl-mechanism=${mechanism}`,
    `--kafka-sasl-username=${username}`,
    `--kafka-sasl-password=${password}`,
  ];
}

class Building {
  private readonly name = 'cycles';

  constructor(
    private readonly options: StageOptions,
    private readonly surroundings: Surroundings,
    private readonly cluster: KafkaCluster,
    private readonly proxy: KafkaProxy | null,
    private readonly postgres: OwnPostgres | null,
    private readonly closing: (() => Promise<unknown>)[],
  ) {}

  async build(): Promise<Stage> {
    const { options, surroundings, cluster, proxy, postgres, name } = this;
    const source = await surroundings.inputTopic(`${name}-input`);
    const session = `--kafka-session-timeout-ms=${options.sessionTimeoutMs}`;
    const place = await surroundings.place(name, source, [session, ...options.flags]);
    await mkdir(surroundings.path(name, 'checkpoints'), { recursive: true });
    const numbers = Array.from({ length: options.instances }, (_, index) => index);
    const detectors: ServiceSlot[] = [];
    const slots: ServiceSlot[] = [];
    const slot = async (called: string, flags: readonly string[]) => {
      const made = await this.detector(place, called, flags);
      slots.push(made);
      return made;
    };
    for (const index of numbers) detectors.push(await slot(`service-${index}`, []));
    const extra = await slot('service-extra', []);
    const projector = postgres === null ? null : this.projector(place, postgres);
    if (projector !== null) slots.push(projector);
    this.closing.push(() => Promise.all(slots.map((slot) => slot.kill())));
    const { topics, kafka, pipeline } = place.configuration;
    const partitions = Array.from({ length: options.partitions }, (_, partition) => partition);
    return {
      surroundings,
      place,
      source,
      cluster,
      detectors,
      extra,
      projector,
      slots,
      slot,
      arena: {
        services: detectors,
        extra,
        brokers: cluster,
        proxy,
        postgres,
        sessionTimeoutMs: options.sessionTimeoutMs,
        group: kafka.group,
        transactionalIds: partitions.map((partition) => `${pipeline.name}.g1.${partition}`),
        topics: [source, topics.alerts, topics.deadLetters, topics.stateLog, topics.rollouts],
        command: (words) => runCommand([...words, ...this.commandFlags(place)]),
      },
      close: async () => {
        for (const close of this.closing.reverse()) await close();
      },
    };
  }

  private async detector({ flags }: RunPlace, name: string, more: readonly string[]): Promise<ServiceSlot> {
    const { surroundings, options } = this;
    const directory = surroundings.path(this.name, name);
    await mkdir(directory, { recursive: true });
    const disk = options.smallDisks ? await SmallDisk.open(directory, DISK_MIB) : null;
    if (disk !== null) this.closing.push(() => disk.close());
    const dataDirectory = join(directory, 'data');
    const own = [
      `--data-dir=${dataDirectory}`,
      `--checkpoint-directory=${surroundings.path(this.name, 'checkpoints')}`,
      `--kafka-client-id=${name}`,
    ];
    const logFile = surroundings.path(this.name, `${name}.log`);
    return new ServiceSlot({ name, flags: [...flags, ...own, ...more], dataDirectory, logFile, disk });
  }

  /** A command is none of the services, and knows the pipeline by the same flags. */
  private commandFlags({ flags }: RunPlace): readonly string[] {
    const directory = (name: string) => this.surroundings.path(this.name, name);
    return [
      ...flags.filter((flag) => !flag.startsWith('--roles=')),
      `--data-dir=${directory('command')}`,
      `--checkpoint-directory=${directory('checkpoints')}`,
      `--savepoints-directory=${directory('savepoints')}`,
    ];
  }

  private projector({ flags }: RunPlace, { url }: OwnPostgres): ServiceSlot {
    const { surroundings } = this;
    const name = 'projector';
    const dataDirectory = surroundings.path(this.name, name, 'data');
    const others = flags.filter((flag) => !flag.startsWith('--roles='));
    const own = ['--roles=projector', `--data-dir=${dataDirectory}`, `--postgres-url=${url}`];
    const logFile = surroundings.path(this.name, `${name}.log`);
    return new ServiceSlot({ name, flags: [...others, ...own], dataDirectory, logFile, disk: null });
  }
}
