/**
 * Owns starting a schema registry on this machine for development and tests: Apicurio with Java, which Maven fetches
 * once into .registry. `SCHEMA_REGISTRY_URL` names a running registry instead.
 * Neighbours: `dev.ts` starts one for people, tests of Avro start their own. Erasable TypeScript without imports from
 * src, so that Node runs it as it is.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { accepts } from '../kafka/java.ts';

const run = promisify(execFile);
const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** The newest that runs on Java 17. */
const VERSION = '3.0.9';
const ARTIFACT = `io.apicurio:apicurio-registry-app:${VERSION}:tar.gz:all`;
const RUNNER = `apicurio-registry-app-${VERSION}-runner.jar`;
const FETCH_MS = 600_000;
const READY_MS = 90_000;
const STOP_MS = 10_000;

export interface RegistryOptions {
  readonly port: number;
  /** File that gets everything it says. */
  readonly output: string;
}

export interface RunningRegistry {
  /** Address of the Confluent-compatible API. */
  readonly url: string;
  readonly pid: number;
  /** Stops answering, as a hung process does, and goes on. */
  suspend(): void;
  resume(): void;
  /** Ends it and waits for that; what it held, in memory, is gone. */
  kill(): Promise<void>;
}

/** Starts a registry on 127.0.0.1 that keeps everything in memory, asks for BACKWARD compatibility, and answers. */
export async function startRegistry({ port, output }: RegistryOptions): Promise<RunningRegistry> {
  const home = await fetchApicurio();
  if (await accepts(port)) throw new Error(`Port ${port} is taken: stop what listens there, or choose another port`);
  await mkdir(dirname(output), { recursive: true });
  const log = openSync(output, 'a');
  const child = spawn('java', ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-jar', join(home, RUNNER)], {
    cwd: home,
    stdio: ['ignore', log, log],
    env: { ...process.env, QUARKUS_HTTP_HOST: '127.0.0.1', QUARKUS_HTTP_PORT: String(port) },
  });
  closeSync(log);
  const registry = running(child, `http://127.0.0.1:${port}/apis/ccompat/v7`);
  try {
    await untilReady(registry.url, () => child.exitCode === null && child.signalCode === null, output);
    await askForCompatibility(registry.url);
  } catch (error) {
    await registry.kill();
    throw error;
  }
  return registry;
}

/** Registers an Avro schema under a subject; returns its id. */
export async function registerSchema(url: string, subject: string, schema: object): Promise<number> {
  const answer = await fetch(`${url}/subjects/${subject}/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema: JSON.stringify(schema) }),
    signal: AbortSignal.timeout(10_000),
  });
  const body = (await answer.json()) as { readonly id?: number };
  if (body.id === undefined) throw new Error(`${subject} was not registered: ${answer.status} ${JSON.stringify(body)}`);
  return body.id;
}

function running(child: ChildProcess, url: string): RunningRegistry {
  const { pid } = child;
  if (pid === undefined) throw new Error('java could not be started; is it on the PATH?');
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  // A test run that ends early must not leave a registry behind.
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  return {
    url,
    pid,
    suspend: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    kill: async () => {
      process.removeListener('exit', killWithUs);
      child.kill('SIGKILL');
      await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })]);
    },
  };
}

async function untilReady(url: string, lives: () => boolean, output: string): Promise<void> {
  const deadline = Date.now() + READY_MS;
  for (;;) {
    if (!lives()) throw new Error(`The registry ended while it started; see ${output}`);
    try {
      if ((await fetch(`${url}/subjects`, { signal: AbortSignal.timeout(2_000) })).ok) return;
    } catch {
      // Not ready: asked again until the deadline.
    }
    if (Date.now() > deadline) throw new Error(`The registry at ${url} did not answer within ${READY_MS} ms`);
    await sleep(100);
  }
}

/** Apicurio asks for nothing unless told to. */
async function askForCompatibility(url: string): Promise<void> {
  const answer = await fetch(`${url}/config`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ compatibility: 'BACKWARD' }),
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`The registry did not take BACKWARD: ${answer.status} ${await answer.text()}`);
}

/** Brings Apicurio in, once a checkout: unpacked aside, then renamed, so that nobody sees half of it. */
async function fetchApicurio(): Promise<string> {
  const home = join(projectRoot, '.registry', `apicurio-${VERSION}`);
  if (existsSync(home)) return home;
  const repository = process.env.MAVEN_REPOSITORY ?? join(homedir(), '.m2', 'repository');
  const name = `apicurio-registry-app-${VERSION}-all.tar.gz`;
  const archive = join(repository, 'io', 'apicurio', 'apicurio-registry-app', VERSION, name);
  if (!existsSync(archive)) await fetchArchive(archive);
  const aside = `${home}.${process.pid}`;
  await mkdir(aside, { recursive: true });
  await run('tar', ['xzf', archive, '-C', aside]);
  try {
    await rename(aside, home);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    if (!existsSync(home)) throw error;
  }
  return home;
}

async function fetchArchive(archive: string): Promise<void> {
  process.stderr.write('Fetching the Apicurio registry by Maven (109 MB, once) ...\n');
  try {
    await run('mvn', ['-q', '-B', 'dependency:get', `-Dartifact=${ARTIFACT}`, '-Dtransitive=false'], {
      timeout: FETCH_MS,
      maxBuffer: 16 * 1024 * 1024,
    });
  } catch (cause) {
    throw new Error(
      'No schema registry here: install Java 17 and Maven (Debian: apt install default-jre-headless maven)',
      { cause },
    );
  }
  if (!existsSync(archive)) {
    throw new Error(`Maven fetched ${ARTIFACT}, but not to ${archive}: name its repository by MAVEN_REPOSITORY`);
  }
}
