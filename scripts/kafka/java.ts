/**
 * Owns running Kafka's own classes with Java: the jars, which Maven fetches once into .kafka/lib, formatting a data
 * directory, and the process of one broker, from its start until it answers.
 * Neighbours: `broker.ts` starts one broker, `cluster.ts` several. Erasable TypeScript without imports from src, so that
 * Node runs it as it is.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import kafkajs from 'kafkajs';

export const run = promisify(execFile);
/** This folder: the broker's files lie beside this one. */
export const here = dirname(fileURLToPath(import.meta.url));
const projectRoot = resolve(here, '..', '..');
const FETCH_JARS_MS = 600_000;
const FORMAT_MS = 90_000;
const STOP_MS = 20_000;

const jarsDirectory = () => join(projectRoot, '.kafka', 'lib');
export const jarsAreThere = () => existsSync(jarsDirectory());

/** Brings the jars in, once a checkout: into a directory aside, then renamed, so that nobody sees half of them. */
export async function fetchJars(): Promise<void> {
  if (jarsAreThere()) return;
  const aside = `${jarsDirectory()}.${process.pid}`;
  process.stderr.write('Fetching the Kafka broker by Maven (55 MB, once) ...\n');
  const pom = join(here, 'pom.xml');
  const goal = ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${aside}`];
  await run('mvn', goal, { timeout: FETCH_JARS_MS, maxBuffer: 16 * 1024 * 1024 });
  try {
    await rename(aside, jarsDirectory());
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    if (!jarsAreThere()) throw error;
  }
}

/** Prepares the data directory that the configuration file names. `flags`: of Kafka's storage tool. */
export async function formatStorage(
  configuration: string,
  clusterId: string,
  flags: readonly string[] = [],
): Promise<void> {
  const command = ['kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', configuration, ...flags];
  await run('java', ['-XX:TieredStopAtLevel=1', ...javaArguments(), ...command], { timeout: FORMAT_MS });
}

export interface BrokerProcess {
  readonly pid: number;
  /** Whether it has not ended. */
  isRunning(): boolean;
  /** Ends it and waits for that; SIGKILL if it takes more than 20 s. */
  end(signal: NodeJS.Signals): Promise<void>;
}

/** Starts a broker. `directory` gets its output, as broker.log. It dies with this process. */
export function spawnBroker(directory: string, configuration: string, heapMb: number): BrokerProcess {
  const log = openSync(join(directory, 'broker.log'), 'a');
  const child = spawn(
    'java',
    // The serial collector and the first compiler tier: up in 5 s, 370 MB.
    [`-Xmx${heapMb}m`, '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', ...javaArguments(), 'kafka.Kafka', configuration],
    { cwd: directory, stdio: ['ignore', log, log] },
  );
  closeSync(log);
  return processOf(child);
}

function javaArguments(): string[] {
  const logging = `-Dlog4j2.configurationFile=${join(here, 'log4j2.properties')}`;
  return [logging, '-cp', join(jarsDirectory(), '*')];
}

/** A child as a broker's process. */
export function processOf(child: ChildProcess): BrokerProcess {
  const { pid } = child;
  if (pid === undefined) throw new Error('java could not be started; is it on the PATH?');
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  // A test run that ends early must not leave a broker behind.
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  child.once('exit', () => process.removeListener('exit', killWithUs));
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  return {
    pid,
    isRunning,
    async end(signal) {
      if (!isRunning()) return;
      child.kill(signal);
      await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })]);
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Waits until a broker answers on its port. `died` names where the reason is to be found once it has ended. */
export async function untilReady(port: number, died: () => string | null, withinMs: number): Promise<void> {
  const deadline = Date.now() + withinMs;
  const kafka = new kafkajs.Kafka({
    clientId: 'until-ready',
    brokers: [`127.0.0.1:${port}`],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 0 },
  });
  for (;;) {
    const where = died();
    if (where !== null) throw new Error(`The Kafka broker on port ${port} ended while it started; see ${where}`);
    if ((await accepts(port)) && (await hasMetadata(kafka))) return;
    if (Date.now() > deadline) throw new Error(`The Kafka broker on port ${port} did not answer within ${withinMs} ms`);
    await sleep(100);
  }
}

async function hasMetadata(kafka: kafkajs.Kafka): Promise<boolean> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    return (await admin.describeCluster()).brokers.length > 0;
  } catch {
    // Not ready: asked again until the deadline.
    return false;
  } finally {
    await admin.disconnect();
  }
}

/** Whether somebody listens on the port. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    const end = (accepted: boolean) => {
      socket.destroy();
      done(accepted);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.setTimeout(1_000, () => end(false));
  });
}
