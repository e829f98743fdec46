/**
 * Owns the detector role of a process: worker threads under a supervisor, and the progress published for lag displays.
 * Neighbours: `run.ts` starts it, the API and the terminal read its status; `worker-start.ts` is what the threads run.
 *
 * The threads are started first of all, before it is known where the log is: loading code and model takes them longer
 * than the main thread takes to find that out, and a restart is as long as the longer of both.
 */
import { availableParallelism } from 'node:os';
import { PIPELINE_VERSION } from '../fraud/pipeline-version.js';
import { StreamError } from '../stream/errors.js';
import type { Assignment, LogBackend, TopicAdmin } from '../stream/ports.js';
import { LateSettings } from '../stream/runtime/late-settings.js';
import type { PipelineStatus } from '../stream/runtime/status.js';
import { Supervisor } from '../stream/runtime/supervisor.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import type { Configuration } from './configuration/index.js';
import type { Generation } from './generation.js';
import { claimOf, expectNameFree, groupOf } from './group-claim.js';
import { AddedPartitions, countedPartitions } from './keying.js';
import { checkObjects, openObjects } from './objects.js';
import type { Repartition } from './repartition.js';
import { workerHeapMiB } from './task-options.js';
import { taskPlaces } from './task-places.js';
import type { EarlySettings, WorkerSettings } from './worker-entry.js';

export interface DetectorSurroundings {
  /** As configured: which topics the generation has is not known yet. */
  readonly configuration: Configuration;
  /** Where compiled code is kept between starts. */
  readonly codeDirectory: string;
  onFatal(error: StreamError): void;
  say(level: 'info' | 'warn', message: string): void;
}

/** Where the tasks are. */
export interface DetectorPlace {
  /** With the topics of the generation. */
  readonly configuration: Configuration;
  readonly generation: Generation;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly sourcePartitions: number;
}

const PROGRESS_EVERY_MS = 5_000;
const LOOK_EVERY_MS = 20;

/**
 *   under way ──start──► running ──stop──► stopped
 *       └──────────────stop───────────────────┘
 */
export class Detector {
  private readonly late: LateSettings<WorkerSettings>;
  private readonly supervisor: Supervisor;
  private readonly joined: Promise<void>;
  private assignment: Assignment | null = null;
  private place: DetectorPlace | null = null;
  private added: AddedPartitions | null = null;
  /** Keys payments by card, where they do not come so. */
  firstStage: Repartition | null = null;
  private startedAt = 0;
  private ticker: NodeJS.Timeout | null = null;
  /** Resolves when model and rules are found in order. Errors: those of `openFraudParts`. */
  readonly checked: Promise<void>;

  /** Starts as many threads as the configured number of partitions asks for; `start` adds what is missing. */
  constructor(private readonly surroundings: DetectorSurroundings) {
    const { configuration, codeDirectory, say } = surroundings;
    const workers = workersFor(configuration, configuration.topics.partitions);
    let loading = workers;
    let allLoaded: () => void = () => {};
    const loaded = new Promise<void>((resolve) => {
      allLoaded = resolve;
    });
    this.late = new LateSettings(() => {
      if (--loading === 0) allLoaded();
    });
    this.supervisor = new Supervisor({
      entry: new URL('./worker-start.js', import.meta.url),
      workerData: { configuration, codeDirectory } satisfies EarlySettings,
      late: this.late,
      workers,
      heapMiB: workerHeapMiB(configuration, configuration.topics.partitions, workers),
      assignment: {
        // Threads are ready only once they know the place, which `start` tells them when this is there.
        join: async (handlers) => this.assignment?.join(handlers),
        leave: async () => this.assignment?.leave(),
      },
      clock: systemClock,
      onFatal: (error) => (this.added ?? surroundings).onFatal(error),
      say,
    });
    this.joined = this.supervisor.start();
    this.checked = Promise.race([loaded, this.joined]);
    this.checked.catch(() => {}); // a refusal is told to whoever awaits this, or `start`
  }

  get workers(): number {
    return this.supervisor.workers.length;
  }

  /** Gives the tasks out; to be called once. Errors: those of the threads, the group's and the checkpoints' place. */
  async start(place: DetectorPlace): Promise<void> {
    const { configuration, generation, backend } = place;
    const { pipeline, topics } = configuration;
    const nameIsFree = () =>
      expectNameFree(this.surroundings.configuration, generation.number, place.admin, this.surroundings.say);
    const [settings] = await Promise.all([this.settingsFor(place), nameIsFree()]);
    this.supervisor.grow(workersFor(configuration, place.sourcePartitions));
    const assignment = await backend.openAssignment({
      group: groupOf(pipeline.name, generation.number),
      source: { topics: [topics.payments] },
      standbys: configuration.standbys,
      claim: await claimOf(configuration, generation.number, place.admin),
      discoveryMs: configuration.keying.discoveryMs,
    });
    this.assignment = countedPartitions(assignment, place.sourcePartitions);
    this.added = this.addedPartitions(place);
    this.place = place;
    this.startedAt = Date.now();
    this.late.give(settings);
    await this.joined;
    await nameIsFree(); // of two that start at once, one sees the other by now
    await this.added.start();
    this.ticker = setInterval(() => void this.publishProgress(), PROGRESS_EVERY_MS);
  }

  /** Null before it runs. */
  status(): PipelineStatus | null {
    if (this.place === null) return null;
    const { configuration, generation, backend, sourcePartitions } = this.place;
    return {
      name: configuration.pipeline.name,
      version: PIPELINE_VERSION,
      backend: backend.kind,
      startedAt: this.startedAt,
      generation: generation.number,
      seededFrom: generation.seededFrom,
      sourcePartitions,
      tasks: this.supervisor.tasks,
      firstStage: this.firstStage?.tasks() ?? [],
      standbys: this.supervisor.standbys,
      workers: this.supervisor.workers,
    };
  }

  /**
   * Resolves once every task has committed since it was started, or after `limitMs`: what is in less of a hurry than
   * payments waits for that, and leaves them the processor.
   */
  async caughtOn(limitMs: number): Promise<void> {
    const deadline = systemClock.monotonic() + limitMs;
    const hasCommitted = () => {
      const { tasks } = this.supervisor;
      return tasks.length > 0 && tasks.every(({ epochLatencyMs }) => epochLatencyMs.max > 0);
    };
    while (systemClock.monotonic() < deadline && !hasCommitted()) {
      await new Promise<void>((resolve) => systemClock.schedule(LOOK_EVERY_MS, resolve));
    }
  }

  async stop(): Promise<void> {
    if (this.ticker !== null) clearInterval(this.ticker);
    this.joined.catch(() => {}); // why it never ran has been told
    await this.added?.stop();
    await this.supervisor.stop();
    await this.publishProgress();
  }

  private addedPartitions({ configuration, sourcePartitions, admin }: DetectorPlace): AddedPartitions {
    const { onFatal, say } = this.surroundings;
    return new AddedPartitions({
      topic: configuration.topics.payments,
      partitions: sourcePartitions,
      discoveryMs: configuration.keying.discoveryMs,
      admin,
      clock: systemClock,
      tasks: () => this.supervisor.tasks,
      given: () => this.supervisor.workers.reduce((sum, { tasks }) => sum + tasks, 0),
      onFatal,
      say,
    });
  }

  private async settingsFor(place: DetectorPlace): Promise<WorkerSettings> {
    const { configuration, generation, backend, admin, sourcePartitions } = place;
    const { say, onFatal } = this.surroundings;
    const places = await taskPlaces(configuration, admin, configuration.topics.stateLog);
    // Not waited for: payments need checkpoints only later, and a far place may take its time to answer.
    openObjects(places.snapshotPlace, configuration)
      .then((objects) => checkObjects(objects, (message) => say('warn', message)))
      .catch((error: unknown) => onFatal(asStreamError(error)));
    if (backend.kind === 'kafka' && configuration.checkpoint.directory === undefined) {
      say(
        'warn',
        'checkpoints are kept on this machine alone, so the state log is never truncated and grows without end; ' +
          'give --checkpoint-directory a place that every process of this pipeline reaches (a shared directory, or s3://bucket/prefix)',
      );
    }
    return { configuration, generation: generation.number, sourcePartitions, ...places };
  }

  /** For displays alone (I1): a failure is told and changes nothing. */
  private async publishProgress(): Promise<void> {
    if (this.place === null) return;
    const { admin, configuration } = this.place;
    const { kafka, topics } = configuration;
    const known = this.supervisor.tasks.filter(({ epoch }) => epoch >= 0);
    if (known.length === 0) return;
    const offsets = new Map(known.map(({ partition, committedOffset }) => [partition, committedOffset]));
    try {
      await admin.publishProgress(kafka.group, topics.payments, offsets);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.surroundings.say('warn', `publishing progress failed: ${reason}`);
    }
  }
}

function asStreamError(error: unknown): StreamError {
  if (error instanceof StreamError) return error;
  return new StreamError('checkpoint-place', error instanceof Error ? error.message : String(error), { cause: error });
}

/** How many threads run `tasks` tasks. */
function workersFor({ workers }: Configuration, tasks: number): number {
  return workers ?? Math.min(availableParallelism(), tasks);
}
