/**
 * Owns a whole log in the memory of one process: the third backend, on which the core is tested, with faults on command.
 * It gives what the ports promise and no more: positions jump over commit markers and aborted records, lent buffers are
 * overwritten after the call, bytes are copies. Neighbours: `memory-partition.ts`, `memory-reader.ts`,
 * `memory-epoch-log.ts`; the contract suite `test/contract/log-backend.contract.ts` holds it to the other backends.
 */
import { randomUUID } from 'node:crypto';
import { StreamError } from '../errors.js';
import { partitionOfKey } from '../partitioning.js';
import type {
  Assigned,
  Assignment,
  AssignmentOptions,
  Clock,
  LogBackend,
  RecordWriter,
  StartPosition,
  TopicAdmin,
  TopicSpec,
} from '../ports.js';
import { systemClock } from '../runtime/system-clock.js';
import { SoleAssignment } from '../sole-assignment.js';
import {
  type CommitFault,
  type MemoryCommitEnvironment,
  MemoryEpochLog,
  type MemoryTask,
  tooLarge,
} from './memory-epoch-log.js';
import { MemoryPartition, type MemoryRecord } from './memory-partition.js';
import { MemoryReader } from './memory-reader.js';

export type { CommitFault, MemoryRecord };

/** Trouble that a test orders. Everything holds for all backends opened on the log. */
export interface MemoryFaults {
  /** Makes the next commit (of that task, where one is named) go wrong; several calls queue up. */
  failNextCommit(how: CommitFault, taskId?: string): void;
  /** Lets each commit take effect only after `delayMs`; 0 turns it off. */
  delayCommits(delayMs: number): void;
  /** Holds every commit until the returned function is called. */
  holdCommits(): () => void;
  /** Most records that one `read` gives; Infinity turns it off. */
  limitReads(records: number): void;
  /** Forgets a partition's records before `offset`, as retention would. */
  truncate(topic: string, partition: number, offset: number): void;
  /** Leaves `offsets` empty places at a partition's end, as an upstream's aborted transaction would. */
  leaveGap(topic: string, partition: number, offsets: number): void;
  /** Gives each member of a group this; resolves when all have followed. */
  assign(group: string, assigned: Assigned): Promise<void>;
  /** Ends the membership of all members of a group. */
  loseMembership(group: string, reason: string): Promise<void>;
}

export interface MemoryLog {
  readonly faults: MemoryFaults;
  /** A backend on this log; all that are opened see the same topics. Closing one leaves the log as it is. */
  open(): LogBackend;
  /** Every record kept of a topic, by partition and offset, headers included: a test's oracle. */
  records(topic: string): readonly MemoryRecord[];
}

export interface MemoryLogOptions {
  /** Wall clock and timers where left out. */
  readonly clock?: Clock;
  /** Largest state-log value, and largest record where a topic says nothing; 1,000,000 bytes where left out. */
  readonly maxRecordBytes?: number;
  /** Part of its topics' identities; random where left out. */
  readonly logId?: string;
}

/** Makes an empty log. */
export function makeMemoryLog(options: MemoryLogOptions = {}): MemoryLog {
  return new InProcessLog(
    options.clock ?? systemClock,
    options.maxRecordBytes ?? 1_000_000,
    options.logId ?? randomUUID(),
  );
}

interface Topic {
  readonly spec: TopicSpec;
  readonly identity: string;
  readonly partitions: MemoryPartition[];
}

type Handlers = Parameters<Assignment['join']>[0];

class InProcessLog implements MemoryLog {
  private readonly topics = new Map<string, Topic>();
  private readonly tasks = new Map<string, MemoryTask>();
  private readonly claims = new WeakMap<Handlers, string>();
  private readonly progressByGroup = new Map<string, ReadonlyMap<number, number>>();
  private readonly members = new Map<string, Set<Handlers>>();
  private readonly ordered: { readonly how: CommitFault; readonly taskId: string | undefined }[] = [];
  private readonly held = new Set<Promise<void>>();
  private commitDelayMs = 0;
  private readLimit = Number.POSITIVE_INFINITY;
  private nextKeyless = 0;
  private topicsMade = 0;

  constructor(
    private readonly clock: Clock,
    private readonly maxRecordBytes: number,
    private readonly logId: string,
  ) {}

  readonly faults: MemoryFaults = {
    failNextCommit: (how, taskId) => {
      this.ordered.push({ how, taskId });
    },
    delayCommits: (delayMs) => {
      this.commitDelayMs = delayMs;
    },
    holdCommits: () => {
      let release = () => {};
      const hold = new Promise<void>((resolve) => {
        release = resolve;
      });
      this.held.add(hold);
      return () => {
        this.held.delete(hold);
        release();
      };
    },
    limitReads: (records) => {
      this.readLimit = records;
    },
    truncate: (topic, partition, offset) => this.partition(topic, partition).truncate(offset),
    leaveGap: (topic, partition, offsets) => {
      const target = this.partition(topic, partition);
      target.appendGap(offsets);
      target.wake();
    },
    assign: async (group, assigned) => {
      await Promise.all([...this.membersOf(group)].map((member) => member.onAssigned(assigned)));
    },
    loseMembership: async (group, reason) => {
      const members = this.membersOf(group);
      const lost = [...members];
      members.clear();
      await Promise.all(lost.map((member) => member.onLost(reason)));
    },
  };

  open(): LogBackend {
    return {
      kind: 'memory',
      openReader: async ({ topic, partition, from }) => {
        const source = this.partition(topic, partition);
        return new MemoryReader(source, startOf(source, from), this.clock, () => this.readLimit);
      },
      openEpochLog: async ({ taskId, ownerId, stateLog }) =>
        new MemoryEpochLog(
          taskId,
          this.task(ownerId ?? taskId),
          this.partition(stateLog.topic, stateLog.partition),
          this.commitEnvironment,
        ),
      openWriter: async () => this.writer(),
      openAdmin: async () => this.admin(),
      openAssignment: async (options) => this.assignment(options),
      close: async () => {},
    };
  }

  records(topic: string): readonly MemoryRecord[] {
    return this.topic(topic).partitions.flatMap((partition) => partition.slice(0, Number.POSITIVE_INFINITY));
  }

  private readonly commitEnvironment: MemoryCommitEnvironment = {
    stateLogLimit: () => this.maxRecordBytes,
    partitionFor: (topic, partition, key) => this.partitionFor(topic, partition, key),
    recordLimit: (topic) => this.topic(topic).spec.maxRecordBytes ?? this.maxRecordBytes,
    takeFault: (taskId) => {
      const index = this.ordered.findIndex((fault) => fault.taskId === undefined || fault.taskId === taskId);
      return index < 0 ? null : this.ordered.splice(index, 1)[0].how;
    },
    commitGate: async () => {
      const delayMs = this.commitDelayMs;
      if (delayMs > 0) await new Promise<void>((resolve) => this.clock.schedule(delayMs, resolve));
      else await Promise.resolve();
      await Promise.all(this.held);
    },
    now: () => this.clock.now(),
  };

  private task(taskId: string): MemoryTask {
    let task = this.tasks.get(taskId);
    if (!task) {
      task = { generation: 0, prepared: null };
      this.tasks.set(taskId, task);
    }
    return task;
  }

  private topic(name: string): Topic {
    const topic = this.topics.get(name);
    if (!topic) throw unknownTopic(name);
    return topic;
  }

  private partition(topic: string, partition: number): MemoryPartition {
    const found = this.topic(topic).partitions[partition];
    if (!found) {
      const count = this.topic(topic).partitions.length;
      throw new StreamError('unknown-partition', `Topic ${topic} has partitions 0 to ${count - 1}, not ${partition}`);
    }
    return found;
  }

  private partitionFor(topic: string, partition: number | undefined, key: Buffer | null): MemoryPartition {
    if (partition !== undefined) return this.partition(topic, partition);
    const count = this.topic(topic).partitions.length;
    return this.partition(topic, key === null ? this.nextKeyless++ % count : partitionOfKey(key, count));
  }

  private membersOf(group: string): Set<Handlers> {
    const members = this.members.get(group) ?? new Set();
    this.members.set(group, members);
    return members;
  }

  private writer(): RecordWriter {
    return {
      write: async (records) => {
        const placed = records.map((record) => {
          const limit = this.commitEnvironment.recordLimit(record.topic);
          const size = (record.key?.length ?? 0) + (record.value?.length ?? 0);
          if (size > limit) throw tooLarge(record.topic, size, limit);
          return [this.partitionFor(record.topic, record.partition, record.key), record] as const;
        });
        for (const [partition, record] of placed) partition.append(record);
        for (const partition of new Set(placed.map(([target]) => target))) partition.wake();
      },
      close: async () => {},
    };
  }

  private admin(): TopicAdmin {
    return {
      ensure: async (specs) => {
        const made = specs.filter((spec) => !this.topics.has(spec.name));
        for (const spec of made) {
          const partitions = Array.from(
            { length: spec.partitions },
            (_, index) => new MemoryPartition(spec.name, index),
          );
          this.topics.set(spec.name, { spec, partitions, identity: `${this.logId}.${this.topicsMade++}` });
        }
        return made.map((spec) => spec.name);
      },
      partitionCount: async (name) => this.topics.get(name)?.partitions.length ?? null,
      grow: async (name, count) => {
        const { partitions } = this.topic(name);
        while (partitions.length < count) partitions.push(new MemoryPartition(name, partitions.length));
      },
      names: async () => [...this.topics.keys()].sort(),
      ranges: async (name) =>
        this.topic(name).partitions.map(({ partition, start, end }) => ({ partition, start, end, writtenEnd: end })),
      identity: async (name) => this.topic(name).identity,
      delete: async (names) => {
        for (const name of names) {
          for (const partition of this.topics.get(name)?.partitions ?? []) {
            partition.deleted = true;
            partition.wake();
          }
          this.topics.delete(name);
        }
      },
      publishProgress: async (group, topic, offsets) => {
        const name = `${group} ${topic}`;
        this.progressByGroup.set(name, new Map([...(this.progressByGroup.get(name) ?? []), ...offsets]));
      },
      progress: async (group, topic) => this.progressByGroup.get(`${group} ${topic}`) ?? new Map(),
      groupMembers: async (group) => [...this.membersOf(group)].map((_, index) => `member ${index}`),
      groupClaims: async (group) => [...this.membersOf(group)].map((member) => this.claims.get(member) ?? null),
      close: async () => {},
    };
  }

  /** Each member is given everything when it joins; what follows is for the test to say. */
  private assignment(options: AssignmentOptions): Assignment {
    const members = this.membersOf(options.group);
    const sole = new SoleAssignment({
      options,
      clock: this.clock,
      topics: () => new Map([...this.topics].map(([name, { partitions }]) => [name, partitions.length])),
      missing: unknownTopic,
    });
    let joined: Handlers | null = null;
    return {
      join: (handlers) => {
        joined = handlers;
        members.add(handlers);
        if (options.claim !== undefined) this.claims.set(handlers, options.claim);
        return sole.join(handlers);
      },
      leave: async () => {
        if (joined) members.delete(joined);
        await sole.leave();
      },
    };
  }
}

const unknownTopic = (name: string) =>
  new StreamError('unknown-topic', `Topic ${name} does not exist in the memory log; ensure() it first`);

function startOf(source: MemoryPartition, from: StartPosition): number {
  if (from === 'earliest') return source.start;
  return from === 'latest' ? source.end : from;
}
