/**
 * Owns starting a Kafka broker on this machine for development and tests: with Java, whose jars Maven fetches once into
 * .kafka/lib, or else with Docker. `KAFKA_BROKERS` names a running cluster instead.
 * Neighbours: `java.ts` runs it, `dev.ts` starts one for people, tests of the Kafka adapter start their own, `cluster.ts`
 * starts several. Erasable TypeScript without
 * imports from src, so that Node runs it as it is.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  accepts,
  type BrokerProcess,
  fetchJars,
  formatStorage,
  here,
  jarsAreThere,
  processOf,
  run,
  spawnBroker,
  untilReady,
} from './java.ts';

const DOCKER_IMAGE = 'apache/kafka:4.2.0';
const OLDEST_JAVA = 17;
const READY_MS = 90_000;

/** How a broker can be had here. */
export type BrokerSource =
  | { readonly kind: 'external'; readonly brokers: readonly string[] }
  | { readonly kind: 'java' }
  | { readonly kind: 'docker' };

export interface BrokerOptions {
  /** Data, configuration and the broker's output lie below it. */
  readonly directory: string;
  readonly port: number;
  /** `port` + 1 where left out. */
  readonly controllerPort?: number;
  /** Deletes what an earlier broker left in the directory. */
  readonly clean?: boolean;
  /** Broker properties on top of server.properties. */
  readonly properties?: Readonly<Record<string, string | number>>;
  /** Feature levels for a new data directory, such as `{ 'transaction.version': 0 }`. */
  readonly features?: Readonly<Record<string, number>>;
  readonly heapMb?: number;
}

export interface RunningBroker {
  readonly brokers: readonly string[];
  readonly pid: number;
  /** Ends it and waits for that; SIGTERM where left out, SIGKILL if it takes more than 20 s. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Ends it as a crash would. */
  kill(): Promise<void>;
}

/** Finds a way to have a broker. Throws one line that says what to install where there is none. */
export async function locateBroker(): Promise<BrokerSource> {
  const named =
    process.env.KAFKA_BROKERS?.split(',')
      .map((text) => text.trim())
      .filter(Boolean) ?? [];
  if (named.length > 0) return { kind: 'external', brokers: named };
  if ((await javaMajor()) >= OLDEST_JAVA && (jarsAreThere() || (await answers('mvn', '-version'))))
    return { kind: 'java' };
  if (await answers('docker', 'version')) return { kind: 'docker' };
  throw new Error(
    `No Kafka here: install Java ${OLDEST_JAVA} or later and Maven (Debian: apt install default-jre-headless maven), or Docker, or set KAFKA_BROKERS=host:port`,
  );
}

/** Starts a broker on 127.0.0.1 and waits until it answers. A data directory that is there already is used again. */
export async function startBroker(options: BrokerOptions): Promise<RunningBroker> {
  const source = await locateBroker();
  if (source.kind === 'external') {
    throw new Error(
      `KAFKA_BROKERS is set (${source.brokers.join(',')}): use that cluster, or unset it to start a broker`,
    );
  }
  if (options.clean) await rm(options.directory, { recursive: true, force: true });
  await mkdir(options.directory, { recursive: true });
  if (await accepts(options.port)) {
    throw new Error(`Port ${options.port} is taken: stop what listens there, or choose another port`);
  }
  return source.kind === 'java' ? startWithJava(options) : startWithDocker(options);
}

async function startWithJava(options: BrokerOptions): Promise<RunningBroker> {
  await fetchJars();
  const directory = resolve(options.directory);
  const configuration = join(directory, 'server.properties');
  await writeFile(configuration, await propertiesOf(options, join(directory, 'data')));
  if (!existsSync(join(directory, 'data', 'meta.properties'))) await format(configuration, options.features ?? {});
  const child = spawnBroker(directory, configuration, options.heapMb ?? 512);
  const broker = running(child, options.port);
  try {
    const output = join(directory, 'broker.log');
    await untilReady(options.port, () => (child.isRunning() ? null : output), READY_MS);
  } catch (error) {
    await broker.kill();
    throw error;
  }
  return broker;
}

async function propertiesOf(options: BrokerOptions, data: string): Promise<string> {
  const template = await readFile(join(here, 'server.properties'), 'utf8');
  const filled = template
    .replaceAll('{port}', String(options.port))
    .replaceAll('{controllerPort}', String(options.controllerPort ?? options.port + 1))
    .replaceAll('{data}', data);
  const extra = Object.entries(options.properties ?? {}).map(([name, value]) => `${name}=${value}\n`);
  return filled + extra.join('');
}

async function format(configuration: string, features: Readonly<Record<string, number>>): Promise<void> {
  const levels = Object.entries(features).flatMap(([name, level]) => ['--feature', `${name}=${level}`]);
  await formatStorage(configuration, newClusterId(), levels);
}

/** The command line would take an id that begins with a dash for an option. */
export const newClusterId = () => `F${randomBytes(16).toString('base64url').slice(1)}`;

function running(child: BrokerProcess, port: number): RunningBroker {
  return {
    brokers: [`127.0.0.1:${port}`],
    pid: child.pid,
    stop: (signal = 'SIGTERM') => child.end(signal),
    kill: () => child.end('SIGKILL'),
  };
}

async function startWithDocker(options: BrokerOptions): Promise<RunningBroker> {
  const { port } = options;
  const name = `kafka-${port}-${process.pid}`;
  const properties: Record<string, string | number> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': '1@localhost:9093',
    listeners: `PLAINTEXT://:${port},CONTROLLER://:9093`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    ...options.properties,
  };
  const environment = Object.entries(properties).flatMap(([property, value]) => [
    '-e',
    `KAFKA_${property.replaceAll('.', '_').toUpperCase()}=${value}`,
  ]);
  const docker = spawn(
    'docker',
    ['run', '--rm', '--name', name, '-p', `127.0.0.1:${port}:${port}`, ...environment, DOCKER_IMAGE],
    {
      stdio: 'ignore',
    },
  );
  const child = processOf(docker);
  const broker = running(child, port);
  const kill = async () => {
    // Fails where the container is gone already, which is what is wanted.
    await run('docker', ['kill', name]).catch(() => undefined);
    await broker.kill();
  };
  try {
    await untilReady(port, () => (child.isRunning() ? null : `docker logs ${name}`), READY_MS);
  } catch (error) {
    await kill();
    throw error;
  }
  return { ...broker, kill };
}

async function answers(command: string, argument: string): Promise<boolean> {
  try {
    await run(command, [argument], { timeout: 20_000 });
    return true;
  } catch {
    // Not installed, or not running: the next way is tried.
    return false;
  }
}

/** Java's major version; 0 where there is none. */
async function javaMajor(): Promise<number> {
  try {
    const { stdout, stderr } = await run('java', ['-version'], { timeout: 20_000 });
    return Number(/version "(\d+)/.exec(stderr + stdout)?.[1] ?? 0);
  } catch {
    // Not installed: the next way is tried.
    return 0;
  }
}
