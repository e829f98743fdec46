/**
 * Owns the life of a process: configuration → data directory → database → log → detector → API → demo, and the way back
 * on Ctrl-C, SIGTERM or a fatal error. Each part is built here and handed to those that need it; nothing is global.
 *
 * Exit codes: 0 stopped as asked, 1 failed (the reason is the last thing said), 2 called wrongly.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { StreamError } from '../stream/errors.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { startAnalystSide } from './analyst-side.js';
import { openBackend } from './backend.js';
import { Closers } from './closers.js';
import {
  askedFor,
  type Configuration,
  ConfigurationError,
  helpText,
  loadConfiguration,
} from './configuration/index.js';
import { openDataDirectory } from './data-directory.js';
import { startDemo, startDemoRiskService } from './demo/index.js';
import { type Detector, startDetector } from './detector.js';
import { withGroupInstanceId } from './group-instance.js';
import { makeLog } from './log.js';
import { watchParent } from './orphan.js';
import { withCardTokenSecret } from './secrets.js';
import { memoryParts } from './task-options.js';
import { coloursWanted, openTerminal, type Terminal, terminalKind } from './terminal/index.js';
import { forgetTopics, prepareTopics } from './topics.js';
import { VERSION } from './version.js';

/** A start that is to end gets this long for the step it is at. */
const START_GRACE_MS = 2_000;
const EXIT_GRACE_MS = 500;
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
  const configuration = await withDemoRiskService(await withGroupInstanceId(await withCardTokenSecret(given)), closers);
  if (configuration.roles.includes('detector')) await checkFraudParts(configuration);

  const logStep = terminal.progress(
    configuration.backend === 'kafka' ? `Kafka ${configuration.kafka.brokers.join(', ')}` : 'embedded log',
  );
  const backend = await openBackend(configuration, (message) => say('warn', message));
  closers.add('log', () => backend.close());
  const admin = await backend.openAdmin();
  closers.add('topics', () => admin.close());
  if (given.fresh && configuration.backend === 'kafka') await forgetTopics(admin, configuration);
  const sourcePartitions = await prepareTopics(admin, configuration, (message) => say('info', message));
  logStep.done(`ready, ${sourcePartitions} partitions`);

  const { roles } = configuration;
  let detector: Detector | null = null;
  const analystSide = await startAnalystSide({
    configuration,
    backend,
    admin,
    terminal,
    closers,
    say,
    detector: () => detector,
    onFatal: (error) => stop.fail(error),
  });
  if (roles.includes('detector')) {
    const workers = configuration.workers ?? Math.min(availableParallelism(), sourcePartitions);
    sayMemory(configuration, sourcePartitions, say);
    const step = terminal.progress('detector');
    detector = await startDetector({
      configuration,
      backend,
      admin,
      sourcePartitions,
      workers,
      onFatal: (error) => stop.fail(error),
      say,
    });
    const started = detector;
    closers.add('detector', () => started.stop());
    step.done(`${sourcePartitions} tasks in ${workers} workers`);
  }
  if (configuration.demo.enabled && roles.includes('detector')) {
    const demo = await startDemo({ configuration, backend, say });
    closers.add('demo', () => demo.stop());
    terminal.note(
      `a simulated card world pays ${configuration.demo.ratePerSecond} payments/s (--no-demo switches it off)`,
    );
  }
  terminal.run(analystSide.feed, analystSide.addresses);
}

/** Model and rules are refused here, in a moment, before anything else comes up; workers open them for themselves. */
async function checkFraudParts(configuration: Configuration): Promise<void> {
  const { openFraudPipeline } = await import('./fraud-parts.js');
  const parts = await openFraudPipeline(configuration);
  await parts.close();
}

/** In the demo, lookups need somebody who answers. */
async function withDemoRiskService(configuration: Configuration, closers: Closers): Promise<Configuration> {
  if (!configuration.demo.enabled || configuration.merchantRisk.url !== undefined) return configuration;
  const service = await startDemoRiskService();
  closers.add('merchant-risk service', () => service.close());
  return { ...configuration, merchantRisk: { ...configuration.merchantRisk, url: service.url } };
}

function sayMemory(
  configuration: Configuration,
  tasks: number,
  say: (level: 'info' | 'warn', text: string) => void,
): void {
  const parts = memoryParts(configuration, tasks);
  const mib = (bytes: number) => Math.round(bytes / 1_048_576);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const listed = parts.map(({ name, bytes }) => `${name} ${mib(bytes)}`).join(', ');
  const budget = configuration.memory.budgetMiB;
  if (mib(total) <= budget) say('info', `memory: ${mib(total)} of ${budget} MiB budgeted (${listed})`);
  else {
    say(
      'warn',
      `memory: ${mib(total)} MiB planned, over the budget of ${budget} MiB (${listed}); lower memory.hotKeys (--memory-hot-keys)`,
    );
  }
}

/**
 * Ctrl-C, SIGTERM, or a part that cannot go on. A second Ctrl-C does not wait; but npm passes on the one that the
 * terminal has already sent to the whole group, so that one press comes twice.
 */
class StopRequest {
  readonly requested: Promise<null>;
  reason: string | null = null;
  failure: StreamError | null = null;
  private settle: () => void = () => {};
  private askedAtMs = 0;

  constructor() {
    this.requested = new Promise((resolve) => {
      this.settle = () => resolve(null);
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
