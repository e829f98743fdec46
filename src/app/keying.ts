/**
 * Owns what keying means to a process: which topic detection reads, which topics the first stage reads and writes, and
 * what becomes of partitions that are added to a source whose tasks keep state. Neighbours: `run.ts` and `detector.ts`
 * ask; `repartition.ts` runs the first stage; `stream/runtime/source-keys.ts` checks each record.
 *
 * K1 Tasks run for the partitions that the generation counts and for no others: an added one has no state log.
 * K2 A source that grew ends the process with 'partitions-added', once every task here stands before its first record of
 *    the new placement, or has come to the end that its partition had when that was noticed: then `fraud rescale` finds
 *    nothing left behind. What takes longer than END_WITHIN_MS is left to the next start, which does the same.
 */
import type { StreamError } from '../stream/errors.js';
import type { Assignment, Clock, SourceTopics, TopicAdmin } from '../stream/ports.js';
import { partitionsAdded, type SourceKeysOptions } from '../stream/runtime/source-keys.js';
import type { TaskStatus } from '../stream/runtime/status.js';
import type { Configuration } from './configuration/index.js';

const END_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 200;

/** The configuration of detection: with `keying.mode` repartition it reads what the first stage has keyed. */
export function detectionOf(configuration: Configuration): Configuration {
  if (configuration.keying.mode === 'trusted') return configuration;
  const { topics, keying, pipeline } = configuration;
  const partitions = keying.partitions ?? topics.partitions;
  return {
    ...configuration,
    // Where to begin is the first stage's to decide: all that it passes on is to be processed.
    pipeline: { ...pipeline, startFrom: 'earliest' },
    topics: { ...topics, payments: topics.byCard, partitions },
  };
}

/** What the first stage reads. `configuration` is the one that was given, not {@link detectionOf} it. */
export function paymentTopics({ keying, topics }: Configuration): SourceTopics {
  if (keying.pattern !== undefined) return { pattern: keying.pattern };
  return { topics: keying.topics.length > 0 ? keying.topics : [topics.payments] };
}

/** The check of the source's keys in the tasks of a generation. `admin` is opened at the first question. */
export function sourceKeysOf(
  { keying, topics }: Configuration,
  partitions: number,
  openAdmin: () => Promise<TopicAdmin>,
): SourceKeysOptions {
  const { misplacedShare, misplacedWindow } = keying;
  const adminOf = openedOnce(openAdmin);
  const partitionsNow = async () => (await (await adminOf()).partitionCount(topics.payments)) ?? partitions;
  return { partitions, misplacedShare, misplacedWindow, partitionsNow };
}

/** Opens at the first call, and again after an opening that failed. */
export function openedOnce<Part>(open: () => Promise<Part>): () => Promise<Part> {
  let opened: Promise<Part> | null = null;
  return () => {
    opened ??= open().catch((error: unknown) => {
      opened = null;
      throw error;
    });
    return opened;
  };
}

/** K1: leaves the units of added partitions out. */
export function countedPartitions(assignment: Assignment, partitions: number): Assignment {
  const isCounted = ({ partition }: { readonly partition: number }) => partition < partitions;
  return {
    join: ({ onAssigned, ...others }) =>
      assignment.join({
        ...others,
        onAssigned: ({ active, standby }) =>
          onAssigned({ active: active.filter(isCounted), standby: standby.filter(isCounted) }),
      }),
    leave: () => assignment.leave(),
  };
}

export interface AddedPartitionsParts {
  readonly topic: string;
  /** That the generation counts. */
  readonly partitions: number;
  readonly discoveryMs: number;
  readonly admin: Pick<TopicAdmin, 'partitionCount' | 'ranges'>;
  readonly clock: Clock;
  tasks(): readonly TaskStatus[];
  /** How many tasks this process was given; those just begun have told nothing yet. */
  given(): number;
  onFatal(error: StreamError): void;
  say(level: 'info' | 'warn', message: string): void;
}

/** Looks out for partitions added to the source, and ends the process in order when cards have moved to them (K2). */
export class AddedPartitions {
  private cancel: () => void = () => {};
  private looking: Promise<void> = Promise.resolve();
  private told = 0;
  private ending: StreamError | null = null;
  private stopped = false;

  constructor(private readonly parts: AddedPartitionsParts) {}

  /** Looks at once, then again and again. Resolves after the first look. */
  async start(): Promise<void> {
    await this.lookAndGoOn();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancel();
    await this.looking;
  }

  /** In the place of the process's own: an ending that can wait for the other tasks does. */
  onFatal(error: StreamError): void {
    if (error.code === 'partitions-added') this.end(error);
    else this.parts.onFatal(error);
  }

  private lookLater(afterMs: number, look: () => Promise<void>): void {
    if (this.stopped) return;
    this.cancel = this.parts.clock.schedule(afterMs, () => {
      this.looking = look();
    });
  }

  private async lookAndGoOn(): Promise<void> {
    const { say, topic, discoveryMs } = this.parts;
    // A failure is told, and the next look may do better: records themselves are checked by the tasks.
    await this.look().catch((error: unknown) =>
      say('warn', `looking for partitions added to ${topic} failed: ${error instanceof Error ? error.message : error}`),
    );
    if (this.ending === null) this.lookLater(discoveryMs, () => this.lookAndGoOn());
  }

  private async look(): Promise<void> {
    const { admin, topic, partitions, say } = this.parts;
    const now = (await admin.partitionCount(topic)) ?? partitions;
    if (now <= partitions) return;
    if (now !== this.told) {
      this.told = now;
      say(
        'warn',
        `${topic} has ${now} partitions and this pipeline counts ${partitions}: it goes on until a payment lies where only the new count puts it. ` +
          'Stop producers, let the lag come to 0, stop this and run `fraud rescale` (docs/KEYING.md)',
      );
    }
    const added = (await admin.ranges(topic)).filter(({ partition }) => partition >= partitions);
    if (added.some(({ end }) => end > 0)) {
      this.end(partitionsAdded({ topic, partition: partitions }, partitions, now, null));
    }
  }

  private end(error: StreamError): void {
    if (this.ending !== null) return;
    this.ending = error;
    this.parts.say('warn', `${error.message}. The other tasks come to the same point first`);
    this.cancel();
    this.looking = this.endInOrder(error);
  }

  private async endInOrder(error: StreamError): Promise<void> {
    const { clock, onFatal, say } = this.parts;
    const ends = await this.endsNow();
    const latestMs = clock.monotonic() + END_WITHIN_MS;
    const look = async () => {
      if (this.stopped) return;
      const behind = this.parts.tasks().filter((task) => !isThere(task, ends));
      const isWhole = behind.length === 0 && this.parts.tasks().length >= this.parts.given();
      if (!isWhole && clock.monotonic() <= latestMs) {
        this.lookLater(LOOK_EVERY_MS, look);
        return;
      }
      if (!isWhole) {
        const names = behind.map(({ taskId, committedOffset, state }) => `${taskId} is ${state} at ${committedOffset}`);
        say('warn', `not all tasks came to where partitions were added: ${names.join(', ')}; the next start goes on`);
      }
      onFatal(error);
    };
    await look();
  }

  /** Where each partition ends now; empty where that cannot be told, which waits for END_WITHIN_MS. */
  private async endsNow(): Promise<ReadonlyMap<number, number>> {
    const { admin, topic, say } = this.parts;
    try {
      return new Map((await admin.ranges(topic)).map(({ partition, end }) => [partition, end]));
    } catch (error) {
      say('warn', `the ends of ${topic} are not known: ${error instanceof Error ? error.message : error}`);
      return new Map();
    }
  }
}

function isThere({ error, partition, committedOffset }: TaskStatus, ends: ReadonlyMap<number, number>): boolean {
  return error?.code === 'partitions-added' || committedOffset >= (ends.get(partition) ?? Number.POSITIVE_INFINITY);
}
