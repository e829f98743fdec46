/**
 * Owns the life of a process: configuration → data directory → worker threads → log → detector → database → API → demo,
 * and the way back on Ctrl-C, SIGTERM or a fatal error. Each part is built here and handed to those that need it; nothing
 * is global.
 *
 * Payments come first: nothing that they do not need is loaded, asked or waited for before the tasks have committed, and
 * a database that is not there holds nothing up. Model and rules are refused before anything but the log is opened.
 *
 * Exit codes: 0 stopped as asked, 1 failed (the reason is the last thing said), 2 called wrongly.
 */
import { readFileSync } from 'node:fs';
import { StreamError } from '../stream/errors.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { openBackend } from './backend.js';
import { Closers } from './closers.js';
import { keepCompiledCode, useCodeCache } from './code-cache.js';
import {
  askedFor,
  type Configuration,
  ConfigurationError,
  helpText,
  loadConfiguration,
} from './configuration/index.js';
import { openDataDirectory } from './data-directory.js';
import { Detector } from './detector.js';
import { currentGeneration, findGeneration, type Generation, type LogParts, withGeneration } from './generation.js';
import { withGroupInstanceId } from './group-instance.js';
import { detectionOf } from './keying.js';
import { makeLog } from './log.js';
import { watchParent } from './orphan.js';
import { withCardTokenSecret } from './secrets.js';
import { coloursWanted, openTerminal, type Terminal, terminalKind } from './terminal/index.js';
import { forgetTopics, prepareTopics } from './topics.js';
import { VERSION } from './version.js';

/** A start that is to end gets this long for the step it is at. */
const START_GRACE_MS = 2_000;
const EXIT_GRACE_MS = 500;
/** What is in less of a hurry than payments waits at most this long for their first commits. */
const LONGEST_CATCH_ON_MS = 1_500;
const ONE_PRESS_MS = 1_000;

/** Runs the service until it is stopped. `argv` is without program names. Resolves to the exit code; never rejects. */
export async function run(argv: readonly string[]): Promise<number> {
  const asked = askedFor(argv);
  if (asked !== null) {
    process.stdout.write(`${asked === 'help' ? helpText(process.stdout.columns ?? 100) : VERSION}\n`);
    return 0;
  }
  let configuration: Configuration;
  try {
    configuration = loadConfiguration({
      argv,
      env: process.env,
      cwd: process.cwd(),
      readFile: (path) => readFileSync(path, 'utf8'),
    });
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
  return serve(configuration);
}

async function serve(given: Configuration): Promise<number> {
  const { stdout } = process;
  const terminal = openTerminal({
    stream: stdout,
    kind: terminalKind(given.terminal.show, stdout, process.env.TERM),
    colours: coloursWanted(process.env, stdout),
    clock: systemClock,
    lineIntervalMs: given.terminal.lineIntervalMs,
    refreshMs: given.terminal.refreshMs,
    rssBytes: () => process.memoryUsage.rss(),
    alertLines: 3,
  });
  const closers = new Closers(systemClock);
  const stop = new StopRequest();
  const started = start(given, terminal, closers, stop).then(
    () => null,
    (error: unknown) => error,
  );
  // Whichever comes first: a start that fails, or the end of a process that runs, or of one that is still starting.
  const failure = await Promise.race([started.then((error) => error ?? stop.requested), stop.requested]);
  const reason = failure ?? stop.failure;
  terminal.stopping(
    reason === null ? (stop.reason ?? 'asked to') : failure === null ? 'cannot go on' : 'could not start',
  );
  closers.refuse();
  // What a start under way says once it is to end concerns nobody.
  await settled(started, START_GRACE_MS);
  const problems = await closers.closeAll();
  terminal.stopped(problems.length === 0 ? null : problems.join('; '));
  const code = reason === null && problems.length === 0 ? 0 : 1;
  if (reason !== null) process.stderr.write(`${sayError(reason)}\n`);
  // What a part that did not stop still holds must not keep the process alive; everything durable is on disk.
  setTimeout(() => process.exit(code), EXIT_GRACE_MS).unref();
  return code;
}

/** Resolves when `work` has, or after `limitMs`. `work` never rejects. */
function settled(work: Promise<unknown>, limitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, limitMs);
    void work.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Brings everything up, in order; what was started is in `closers`, also when a later part fails. */
async function start(given: Configuration, terminal: Terminal, closers: Closers, stop: StopRequest): Promise<void> {
  const log = makeLog(given.log, terminal);
  const say = (level: 'info' | 'warn', message: string) => log(level, message);
  const dataDirectory = await openDataDirectory(given.dataDir, { onLost: (error) => stop.fail(error) });
  closers.add('data directory', () => dataDirectory.close());
  if (given.fresh) {
    await dataDirectory.wipe();
    if (given.postgres.url !== undefined) {
      say(
        'warn',
        'the configured Postgres keeps its alerts and positions: docs/OPERATIONS.md, "Starting over", tells how to empty them',
      );
    }
  }
  // Named here, so that the directory knows them as ours: `wipe` removes nothing else.
  for (const name of ['log', 'state', 'checkpoints', 'postgres', 'secrets']) await dataDirectory.subdirectory(name);
  const codeDirectory = await dataDirectory.subdirectory('code');
  useCodeCache(codeDirectory);
  const configuration = await withDemoRiskService(await withGroupInstanceId(await withCardTokenSecret(given)), closers);
  const { roles } = configuration;
  const fail = (error: StreamError) => stop.fail(error);
  const detector = roles.includes('detector')
    ? new Detector({ configuration, codeDirectory, onFatal: fail, say })
    : null;
  if (detector !== null) closers.addForemost('detector', () => detector.stop());

  const { backend, admin } = await openLog(configuration, terminal, closers, say, detector?.checked);
  const detection = detectionOf(configuration);
  const generation = await generationToRun({ configuration: detection, backend, admin }, stop.signal, say);
  const running = withGeneration(detection, generation);
  const sourcePartitions = await prepareTopics(admin, running, generation, (message) => say('info', message));
  if (detector !== null) {
    const step = terminal.progress('detector');
    await detector.start({ configuration: running, generation, backend, admin, sourcePartitions });
    step.done(`${sourcePartitions} tasks in ${detector.workers} workers`);
    await sayMemory(running, sourcePartitions, detector.workers, say);
    if (configuration.keying.mode === 'repartition') {
      const { startRepartition } = await import('./repartition.js');
      const firstStage = await startRepartition({
        configuration: writingTo(configuration, generation),
        generation,
        backend,
        admin,
        onFatal: fail,
        say,
      });
      closers.addForemost('first stage', () => firstStage.stop());
      detector.firstStage = firstStage;
    }
    if (running.savepoints.onStop) {
      const takeOne = async () => {
        if (stop.failure !== null) return;
        const { savepointOnStop } = await import('./savepoints.js');
        await savepointOnStop({ configuration: running, backend, admin, generation, say });
      };
      closers.add('savepoint', takeOne, running.checkpoint.timeoutMs);
    }
    await detector.caughtOn(LONGEST_CATCH_ON_MS);
  }
  const { startAnalystSide } = await import('./analyst-side.js');
  const analystSide = await startAnalystSide({
    configuration: running,
    generation,
    backend,
    admin,
    terminal,
    closers,
    say,
    detector,
    onFatal: fail,
  });
  if (configuration.demo.enabled && detector !== null) {
    const { startDemo } = await import('./demo/index.js');
    // Where payments come in, which a first stage or a later generation may not be the same as what is detected on.
    const fed = configuration.keying.mode === 'repartition' ? configuration : running;
    const demo = await startDemo({ configuration: fed, backend, say });
    closers.addForemost('demo', () => demo.stop());
    terminal.note(
      `a simulated card world pays ${configuration.demo.ratePerSecond} payments/s (--no-demo switches it off)`,
    );
  }
  keepCompiledCode();
  terminal.run(analystSide.feed, analystSide.addresses);
}

/** The first stage writes what detection reads, which a rescale may have changed. */
function writingTo(configuration: Configuration, { source }: Generation): Configuration {
  return { ...configuration, topics: { ...configuration.topics, byCard: source } };
}

/**
 * Tasks run only in a generation that is whole; who runs none looks at the newest one that is. Errors: 'generation-unready',
 * those of a start from a savepoint.
 */
async function generationToRun(
  parts: LogParts,
  signal: AbortSignal,
  say: (level: 'info' | 'warn', message: string) => void,
): Promise<Generation> {
  const { roles, pipeline } = parts.configuration;
  if (!roles.includes('detector')) return (await findGeneration(parts)).current;
  if (pipeline.fromSavepoint === undefined) return currentGeneration(parts);
  const { generationFromSavepoint } = await import('./from-savepoint.js');
  const work = { clock: systemClock, signal, onProgress: (message: string) => say('info', message) };
  return generationFromSavepoint({ ...parts, ...work }, pipeline.fromSavepoint);
}

/** Opens the log while `checked` is awaited: a model or rules that are refused end the start before anything is made. */
async function openLog(
  configuration: Configuration,
  terminal: Terminal,
  closers: Closers,
  say: (level: 'info' | 'warn', message: string) => void,
  checked: Promise<void> | undefined,
): Promise<{ readonly backend: LogBackend; readonly admin: TopicAdmin }> {
  const { kafka, fresh } = configuration;
  const step = terminal.progress(
    configuration.backend === 'kafka' ? `Kafka ${kafka.brokers.join(', ')}` : 'embedded log',
  );
  const open = async () => {
    const backend = await openBackend(configuration, (message) => say('warn', message));
    closers.add('log', () => backend.close());
    const admin = await backend.openAdmin();
    closers.add('topics', () => admin.close());
    return { backend, admin };
  };
  const [log] = await Promise.all([open(), checked]);
  if (fresh && configuration.backend === 'kafka') await forgetTopics(log.admin, configuration);
  step.done();
  return log;
}

/** In the demo, lookups need somebody who answers. */
async function withDemoRiskService(configuration: Configuration, closers: Closers): Promise<Configuration> {
  if (!configuration.demo.enabled || configuration.merchantRisk.url !== undefined) return configuration;
  const { startDemoRiskService } = await import('./demo/index.js');
  const service = await startDemoRiskService();
  closers.add('merchant-risk service', () => service.close());
  return { ...configuration, merchantRisk: { ...configuration.merchantRisk, url: service.url } };
}

async function sayMemory(
  configuration: Configuration,
  tasks: number,
  workers: number,
  say: (level: 'info' | 'warn', text: string) => void,
): Promise<void> {
  const { memoryParts } = await import('./task-options.js');
  const parts = memoryParts(configuration, tasks, workers);
  const mib = (bytes: number) => Math.round(bytes / 1_048_576);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const listed = parts.map(({ name, bytes }) => `${name} ${mib(bytes)}`).join(', ');
  const budget = configuration.memory.budgetMiB;
  if (mib(total) <= budget) say('info', `memory: ${mib(total)} of ${budget} MiB budgeted (${listed})`);
  else {
    say(
      'warn',
      `memory: ${mib(total)} MiB planned, over the budget of ${budget} MiB (${listed}); lower memory.hotKeys (--memory-hot-keys) or raise memory.budgetMiB`,
    );
  }
}

/**
 * Ctrl-C, SIGTERM, or a part that cannot go on. A second Ctrl-C does not wait; but npm passes on the one that the
 * terminal has already sent to the whole group, so that one press comes twice.
 */
class StopRequest {
  readonly requested: Promise<null>;
  private readonly stopping = new AbortController();
  /** For what a start does that takes its time. */
  readonly signal = this.stopping.signal;
  reason: string | null = null;
  failure: StreamError | null = null;
  private settle: () => void = () => {};
  private askedAtMs = 0;

  constructor() {
    this.requested = new Promise((resolve) => {
      this.settle = () => {
        this.stopping.abort();
        resolve(null);
      };
    });
    const onSignal = (signal: NodeJS.Signals) => this.ask(signal);
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    watchParent(() => {
      if (this.reason === null) this.ask('the npm that started it ended');
    });
  }

  private ask(reason: string): void {
    const nowMs = systemClock.monotonic();
    if (this.reason === null) {
      this.reason = reason;
      this.askedAtMs = nowMs;
      this.settle();
    } else if (nowMs - this.askedAtMs > ONE_PRESS_MS) endAtOnce();
  }

  fail(error: StreamError): void {
    this.failure ??= error;
    this.settle();
  }
}

/** As a kill -9 would: to exit in the ordinary way tears native code out of worker threads, which aborts with a core dump. */
function endAtOnce(): void {
  if (process.stdout.isTTY) process.stdout.write('\u001b[?25h'); // the live screen hides the cursor
  process.stderr.write('fraud: ended at once, as asked twice; the next start recovers what was under way\n');
  process.kill(process.pid, 'SIGKILL');
}

/** An error that crossed from a worker thread is no StreamError any more, and has kept its code. */
function sayError(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (error instanceof StreamError || /^[a-z]+(-[a-z]+)*$/.test(code))
    return `fraud: ${(error as Error).message} (${code})`;
  return error instanceof Error ? `fraud: ${error.stack ?? error.message}` : `fraud: ${String(error)}`;
}
