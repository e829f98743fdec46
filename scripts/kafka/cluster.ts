/**
 * Owns a Kafka cluster on this machine for proofs: one broker, or three that replicate everything (replication 3,
 * min.insync.replicas 2, transaction and offset topics too), each its own process with its own data, which can be killed
 * and started again on what it left.
 *
 * Each broker has two listeners for clients. DIRECT, plaintext, is for whoever sets up and judges. SERVICES is for the
 * services under proof: it may be told to advertise another port, where a proxy stands before it, and may speak TLS and
 * SASL SCRAM-SHA-512. Broker i takes the ports `port` + 10 i (DIRECT), + 1 (its controller), + 2 (SERVICES); + 3 is what
 * SERVICES advertises where `proxied` is set, and is left to the proxy.
 * Neighbours: `java.ts` runs the processes, `certificate.ts`, `ask-broker.ts`; nemeses strike through it. Erasable
 * TypeScript without imports from src, so that Node runs it as it is.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs from 'kafkajs';
import { electPreferredLeaders, findCoordinator } from './ask-broker.ts';
import { newClusterId } from './broker.ts';
import { type Certificate, certificateIn } from './certificate.ts';
import { accepts, type BrokerProcess, fetchJars, formatStorage, spawnBroker, untilReady } from './java.ts';

export interface ClusterOptions {
  /** Emptied first. */
  readonly directory: string;
  /** Of the first broker; 10 ports a broker. */
  readonly port: number;
  readonly brokers: 1 | 3;
  /** SERVICES advertises the ports of a proxy, which somebody has to open. */
  readonly proxied?: boolean;
  /** SERVICES speaks TLS and SASL SCRAM-SHA-512. */
  readonly secure?: boolean;
  /** Of each broker; 384. */
  readonly heapMb?: number;
  /** Broker properties on top. */
  readonly properties?: Readonly<Record<string, string | number>>;
}

/** What a client of a secure SERVICES listener needs. */
export interface ClientSecurity {
  /** PEM file. */
  readonly caFile: string;
  readonly mechanism: 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

export interface KafkaCluster {
  readonly count: number;
  /** `host:port` of the DIRECT listeners. */
  readonly brokers: readonly string[];
  /** `host:port` as services are to be told: the proxy's ports where `proxied`. */
  readonly serviceBrokers: readonly string[];
  /** Where a proxy listens, and to which port it passes on; empty unless `proxied`. */
  readonly routes: readonly { readonly listenPort: number; readonly brokerPort: number }[];
  readonly security: ClientSecurity | null;
  readonly pids: readonly (number | null)[];
  isRunning(index: number): boolean;
  /** kill -9; its data stays. */
  kill(index: number): Promise<void>;
  /** Starts it on what it left. Resolves when it answers and is in sync for every partition that it has a replica of. */
  start(index: number): Promise<void>;
  /** Gives each partition of these topics another leader. Tells how many moved. */
  moveLeaders(topics: readonly string[]): Promise<number>;
  /** Index of the broker that coordinates the group or transactional id now. */
  coordinatorOf(kind: 'group' | 'transaction', name: string): Promise<number>;
  /** Ends all, in no order: what they hold is thrown away. */
  close(): Promise<void>;
}

const READY_MS = 120_000;
const IN_SYNC_MS = 60_000;
const MOVED_MS = 20_000;
const COORDINATOR_MS = 15_000;
const POLL_MS = 100;
const USER = { username: 'fraud', password: 'fraud-only-for-tests' } as const;

/** Starts the brokers and waits until all of them answer and know each other. */
export async function openCluster(options: ClusterOptions): Promise<KafkaCluster> {
  const directory = resolve(options.directory);
  await fetchJars();
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const certificate = options.secure === true ? await certificateIn(directory) : null;
  const nodes = Array.from({ length: options.brokers }, (_, index) => new Node(directory, index, options, certificate));
  for (const { port, controllerPort, servicesPort } of nodes) {
    for (const one of [port, controllerPort, servicesPort]) {
      if (await accepts(one)) throw new Error(`Port ${one} is taken: stop what listens there, or choose another port`);
    }
  }
  const clusterId = newClusterId();
  const cluster = new OpenCluster(nodes, options.proxied === true, certificate);
  try {
    await Promise.all(nodes.map((node) => node.format(clusterId)));
    await Promise.all(nodes.map((node) => node.start()));
    await cluster.untilComplete();
    return cluster;
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

class Node {
  readonly id: number;
  readonly port: number;
  readonly controllerPort: number;
  readonly servicesPort: number;
  readonly advertisedPort: number;
  process: BrokerProcess | null = null;
  private readonly options: ClusterOptions;
  private readonly certificate: Certificate | null;
  private readonly directory: string;
  private readonly configuration: string;

  constructor(directory: string, index: number, options: ClusterOptions, certificate: Certificate | null) {
    this.options = options;
    this.certificate = certificate;
    this.id = index + 1;
    this.port = options.port + 10 * index;
    this.controllerPort = this.port + 1;
    this.servicesPort = this.port + 2;
    this.advertisedPort = options.proxied === true ? this.port + 3 : this.servicesPort;
    this.directory = join(directory, `broker-${this.id}`);
    this.configuration = join(this.directory, 'server.properties');
  }

  get isRunning(): boolean {
    return this.process?.isRunning() ?? false;
  }

  async format(clusterId: string): Promise<void> {
    await mkdir(this.directory, { recursive: true });
    const lines = Object.entries(this.properties()).map(([name, value]) => `${name}=${value}\n`);
    await writeFile(this.configuration, lines.join(''));
    const { username, password } = USER;
    const scram = ['--add-scram', `SCRAM-SHA-512=[name=${username},password=${password}]`];
    await formatStorage(this.configuration, clusterId, this.certificate === null ? [] : scram);
  }

  async start(): Promise<void> {
    if (this.isRunning) return;
    const started = spawnBroker(this.directory, this.configuration, this.options.heapMb ?? 384);
    this.process = started;
    const output = join(this.directory, 'broker.log');
    await untilReady(this.port, () => (started.isRunning() ? null : output), READY_MS);
  }

  async kill(): Promise<void> {
    await this.process?.end('SIGKILL');
  }

  private properties(): Readonly<Record<string, string | number>> {
    const { brokers } = this.options;
    const secure = this.certificate !== null;
    const host = '127.0.0.1';
    const voters = Array.from({ length: brokers }, (_, index) => {
      return `${index + 1}@${host}:${this.options.port + 10 * index + 1}`;
    });
    return {
      'process.roles': 'broker,controller',
      'node.id': this.id,
      'controller.quorum.voters': voters.join(','),
      listeners: `DIRECT://${host}:${this.port},SERVICES://${host}:${this.servicesPort},CONTROLLER://${host}:${this.controllerPort}`,
      'advertised.listeners': `DIRECT://${host}:${this.port},SERVICES://${host}:${this.advertisedPort}`,
      'inter.broker.listener.name': 'DIRECT',
      'controller.listener.names': 'CONTROLLER',
      'listener.security.protocol.map': `DIRECT:PLAINTEXT,SERVICES:${secure ? 'SASL_SSL' : 'PLAINTEXT'},CONTROLLER:PLAINTEXT`,
      'log.dirs': join(this.directory, 'data'),
      'auto.create.topics.enable': 'false',
      'default.replication.factor': brokers,
      'min.insync.replicas': brokers === 1 ? 1 : 2,
      'offsets.topic.replication.factor': brokers,
      'offsets.topic.num.partitions': 6,
      'transaction.state.log.replication.factor': brokers,
      'transaction.state.log.min.isr': brokers === 1 ? 1 : 2,
      'transaction.state.log.num.partitions': 6,
      'share.coordinator.state.topic.replication.factor': brokers,
      'share.coordinator.state.topic.min.isr': brokers === 1 ? 1 : 2,
      // Records of proofs bear times of long ago: the default of seven days would delete them half a minute after the start.
      'log.retention.ms': -1,
      'group.initial.rebalance.delay.ms': 0,
      'group.min.session.timeout.ms': 500,
      // Leaders move when somebody moves them.
      'auto.leader.rebalance.enable': 'false',
      // A broker that died is noticed soon, and a quorum found again soon; a broker alone has nobody to take over from it.
      'broker.session.timeout.ms': brokers === 1 ? 18_000 : 6_000,
      'broker.heartbeat.interval.ms': 500,
      'controller.quorum.fetch.timeout.ms': 2_000,
      'controller.quorum.election.timeout.ms': 1_000,
      ...(this.certificate === null ? {} : securityOf(this.certificate)),
      ...this.options.properties,
    };
  }
}

function securityOf(certificate: Certificate): Readonly<Record<string, string>> {
  const services = 'listener.name.services';
  return {
    [`${services}.ssl.keystore.type`]: 'PKCS12',
    [`${services}.ssl.keystore.location`]: certificate.keyStore,
    [`${services}.ssl.keystore.password`]: certificate.keyStorePassword,
    [`${services}.ssl.key.password`]: certificate.keyStorePassword,
    [`${services}.sasl.enabled.mechanisms`]: 'SCRAM-SHA-512',
    [`${services}.scram-sha-512.sasl.jaas.config`]: 'org.apache.kafka.common.security.scram.ScramLoginModule required;',
  };
}

interface PartitionPlace {
  readonly topic: string;
  readonly partition: number;
  readonly leader: number;
  readonly replicas: readonly number[];
  readonly inSync: readonly number[];
}

class OpenCluster implements KafkaCluster {
  readonly brokers: readonly string[];
  readonly serviceBrokers: readonly string[];
  readonly routes: KafkaCluster['routes'];
  readonly security: ClientSecurity | null;

  private readonly nodes: readonly Node[];

  constructor(nodes: readonly Node[], proxied: boolean, certificate: Certificate | null) {
    this.nodes = nodes;
    this.brokers = nodes.map(({ port }) => `127.0.0.1:${port}`);
    this.serviceBrokers = nodes.map(({ advertisedPort }) => `127.0.0.1:${advertisedPort}`);
    this.routes = proxied
      ? nodes.map(({ advertisedPort, servicesPort }) => ({ listenPort: advertisedPort, brokerPort: servicesPort }))
      : [];
    this.security = certificate && { caFile: certificate.caFile, mechanism: 'scram-sha-512', ...USER };
  }

  get count(): number {
    return this.nodes.length;
  }

  get pids(): readonly (number | null)[] {
    return this.nodes.map(({ process, isRunning }) => (isRunning ? (process?.pid ?? null) : null));
  }

  isRunning(index: number): boolean {
    return this.nodes[index].isRunning;
  }

  kill(index: number): Promise<void> {
    return this.nodes[index].kill();
  }

  async start(index: number): Promise<void> {
    const { id } = this.nodes[index];
    await this.nodes[index].start();
    await this.until(`broker ${id} to be in sync`, IN_SYNC_MS, async (admin) => {
      const places = await placesOf(admin);
      return places.every(
        ({ replicas, inSync, leader }) => leader >= 0 && (!replicas.includes(id) || inSync.includes(id)),
      );
    });
  }

  /** All brokers are known to all. */
  async untilComplete(): Promise<void> {
    await this.until('all brokers to know each other', READY_MS, async (admin) => {
      return (await admin.describeCluster()).brokers.length === this.count;
    });
  }

  async moveLeaders(topics: readonly string[]): Promise<number> {
    if (this.count === 1) throw new Error('one broker alone leads everything: there is nowhere to move to');
    const before = await this.withAdmin((admin) => placesOf(admin, topics));
    await this.withAdmin((admin) =>
      admin.alterPartitionReassignments({
        topics: [...byTopic(before)].map(([topic, places]) => ({
          topic,
          // Turned until another one stands first.
          partitionAssignment: places.map(({ partition, replicas, leader, inSync }) => {
            const next = replicas.find((id) => id !== leader && inSync.includes(id)) ?? leader;
            return { partition, replicas: [next, ...replicas.filter((id) => id !== next)] };
          }),
        })),
      }),
    );
    await this.untilReordered(before);
    const partitions = new Map([...byTopic(before)].map(([topic, places]) => [topic, places.map((p) => p.partition)]));
    await electPreferredLeaders(this.livePort(), partitions);
    return this.withAdmin(async (admin) => {
      const after = await placesOf(admin, topics);
      const leaders = new Map(before.map(({ topic, partition, leader }) => [`${topic}-${partition}`, leader]));
      return after.filter(({ topic, partition, leader }) => leaders.get(`${topic}-${partition}`) !== leader).length;
    });
  }

  async coordinatorOf(kind: 'group' | 'transaction', name: string): Promise<number> {
    const deadline = Date.now() + COORDINATOR_MS;
    for (;;) {
      try {
        const id = await findCoordinator(this.livePort(), kind, name);
        return this.nodes.findIndex((node) => node.id === id);
      } catch (error) {
        // It is being elected, or its topic is being made: asked again until the deadline.
        if (Date.now() > deadline) throw error;
        await sleep(POLL_MS);
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
  }

  private untilReordered(before: readonly PartitionPlace[]): Promise<void> {
    const topics = [...byTopic(before).keys()];
    const first = new Map(before.map(({ topic, partition, replicas }) => [`${topic}-${partition}`, replicas[0]]));
    const leader = new Map(before.map((place) => [`${place.topic}-${place.partition}`, place.leader]));
    return this.until('the replicas to be reordered', MOVED_MS, async (admin) => {
      return (await placesOf(admin, topics)).every(({ topic, partition, replicas }) => {
        const name = `${topic}-${partition}`;
        return replicas.length < 2 || replicas[0] !== leader.get(name) || replicas[0] !== first.get(name);
      });
    });
  }

  private livePort(): number {
    const live = this.nodes.find(({ isRunning }) => isRunning);
    if (live === undefined) throw new Error('no broker runs');
    return live.port;
  }

  private async until(what: string, withinMs: number, isSo: (admin: kafkajs.Admin) => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + withinMs;
    let reason = '';
    for (;;) {
      try {
        if (await this.withAdmin(isSo)) return;
      } catch (error) {
        // Brokers are coming and going: asked again until the deadline, which tells the reason.
        reason = `: ${error instanceof Error ? error.message : String(error)}`;
      }
      if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms for ${what}${reason}`);
      await sleep(POLL_MS);
    }
  }

  private async withAdmin<T>(use: (admin: kafkajs.Admin) => Promise<T>): Promise<T> {
    const live = this.nodes.filter(({ isRunning }) => isRunning).map(({ port }) => `127.0.0.1:${port}`);
    const admin = new kafkajs.Kafka({
      clientId: 'cluster',
      brokers: live,
      logLevel: kafkajs.logLevel.NOTHING,
      retry: { initialRetryTime: 50, retries: 5 },
    }).admin();
    await admin.connect();
    try {
      return await use(admin);
    } finally {
      await admin.disconnect();
    }
  }
}

/** Of these topics, or of all of them. */
async function placesOf(admin: kafkajs.Admin, topics?: readonly string[]): Promise<readonly PartitionPlace[]> {
  const metadata = await admin.fetchTopicMetadata(topics === undefined ? undefined : { topics: [...topics] });
  return metadata.topics.flatMap(({ name, partitions }) =>
    partitions.map(({ partitionId, leader, replicas, isr }) => {
      return { topic: name, partition: partitionId, leader, replicas, inSync: isr };
    }),
  );
}

function byTopic(places: readonly PartitionPlace[]): ReadonlyMap<string, readonly PartitionPlace[]> {
  return Map.groupBy(places, ({ topic }) => topic);
}
