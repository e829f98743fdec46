/**
 * Owns what a nemesis is, and what it may lay hands on. A nemesis disturbs a running proof once, in a bounded time, and
 * heals what it did; it never judges. All its choices come from the `Random` it is given, so a seed repeats them.
 * Neighbours: `catalogue.ts` lists the nemeses; `../../kafka/cluster.ts` (brokers), `../proxy.ts`, `../postgres-control.ts`
 * and `../disk.ts` are the real things behind the controls; the runner of cycles builds the arena, waits until all
 * partitions commit again, and judges.
 */
import type { Random } from '../../../src/fraud/world/random.js';

export interface Nemesis {
  /** As the flag --nemeses names it. */
  readonly name: string;
  /** Why it cannot strike here (one broker, no proxy, not root ...), or null. */
  impossible(arena: Arena): string | null;
  /**
   * Disturbs. Resolves when the blow has fallen and, where it is meant to last, has lasted long enough: within
   * `STRIKE_LIMIT_MS`. What it threw at half way is undone again. Errors: what could not be done, in words.
   */
  strike(arena: Arena, random: Random): Promise<Struck>;
}

/** No strike and no heal takes longer than this, ms. */
export const STRIKE_LIMIT_MS = 60_000;

export interface Struck {
  /** For people: what was done to which, with the numbers drawn. */
  readonly what: string;
  /** Whether all partitions must commit again before `heal` too: the rest of the world suffices for that. */
  readonly goesOn: boolean;
  /** A service may have ended by itself because of this (as when its disk is full): then it is started again. */
  readonly mayEnd: boolean;
  /**
   * Puts all right: every service, broker and database runs, nothing is delayed. Safe to call twice. Resolves with the
   * moment from which recovery counts.
   */
  heal(): Promise<Healed>;
}

export interface Healed {
  /** Of `performance.now()`. */
  readonly sinceMs: number;
  /** Which moment that is. */
  readonly from: 'start' | 'kill' | 'end of strike' | 'strike';
}

export interface Arena {
  /** One at least. Their index is their name's end, and what nemeses tell. */
  readonly services: readonly ServiceControl[];
  /** An instance beyond those, not running until it is started, with a data directory of its own; for rebalance storms. */
  readonly extra: ServiceControl | null;
  readonly brokers: BrokersControl;
  /** Null where services talk to brokers straight. */
  readonly proxy: ProxyControl | null;
  /** Null where no service uses a database. */
  readonly postgres: PostgresControl | null;
  /** Kafka's session time-out of the services' group: pauses are longer than this, ms. */
  readonly sessionTimeoutMs: number;
  /** The services' consumer group and transactional ids: their coordinators are brokers worth killing. */
  readonly group: string;
  readonly transactionalIds: readonly string[];
  /** Topics whose leaders may be moved. */
  readonly topics: readonly string[];
  /** Runs `fraud` with these words on the services' pipeline; null where it cannot. `output`: all that it said. */
  readonly command:
    | ((words: readonly string[]) => Promise<{ readonly code: number | null; readonly output: string }>)
    | null;
}

/** A place for a process of the service, which may be filled and emptied many times. */
export interface ServiceControl {
  readonly name: string;
  /** Null while it does not run. */
  readonly pid: number | null;
  /** `performance.now()` of the newest start. */
  readonly startedAtMs: number;
  readonly dataDirectory: string;
  /** Where everything it says is appended, over all its starts. */
  readonly logFile: string;
  /** The small disk that holds the data directory, where there is one. */
  readonly disk: DiskControl | null;
  /** Starts it if it does not run; it is not ready yet. */
  start(): void;
  /** kill -9; resolves once it is gone. Nothing where it does not run. */
  kill(): Promise<void>;
  /** SIGTERM, and kill -9 after a time-out; resolves once it is gone. */
  stop(): Promise<void>;
  /** SIGSTOP and SIGCONT. */
  pause(): void;
  resume(): void;
}

export interface BrokersControl {
  readonly count: number;
  isRunning(index: number): boolean;
  /** kill -9; its data stays. */
  kill(index: number): Promise<void>;
  /** Starts it on what it left; resolves when it answers and, among several, is in sync with the others again. */
  start(index: number): Promise<void>;
  /** Gives the leadership of every partition of these topics to another replica. Tells how many moved. */
  moveLeaders(topics: readonly string[]): Promise<number>;
  /** Index of the broker that coordinates this group or transactional id now. */
  coordinatorOf(kind: 'group' | 'transaction', name: string): Promise<number>;
}

/** The requests that a cut can be aimed at. */
export type AimedRequest =
  | 'Produce'
  | 'Fetch'
  | 'FindCoordinator'
  | 'JoinGroup'
  | 'Heartbeat'
  | 'InitProducerId'
  | 'AddPartitionsToTxn'
  | 'EndTxn';

/** How a connection fails at an aimed request. */
export type AimedCut =
  /** Before it is passed on: the broker never hears of it. */
  | 'request'
  /** After the broker answered, before the answer is passed back: the client cannot know. */
  | 'answer'
  /** In the middle of the answer's bytes. */
  | 'half answer'
  /** The client loses its connection, and the broker gets the request some hundred ms later all the same. */
  | 'late request';

export interface ProxyControl {
  /** Whether requests can be told apart: not under TLS. */
  readonly seesRequests: boolean;
  /** Connections open now. */
  readonly connections: number;
  /** Cuts every connection with a reset; tells how many. New ones are taken at once. */
  cutAll(): number;
  /**
   * Cuts the connection of the next request of this kind, `times` in a row (1 where left out). `struck` resolves with
   * the number of cuts when all fell or `withinMs` passed; nothing is aimed after that.
   */
  aim(request: AimedRequest, cut: AimedCut, options: { withinMs: number; times?: number }): Promise<number>;
  /** Cuts each connection at its next answer, after half of a chunk; resolves as `aim` does. */
  cutInAnswer(withinMs: number): Promise<number>;
  /** Delays bytes, each way by so many ms. Zero ends it. */
  delay(delays: { toBrokerMs: number; toClientMs: number }): void;
  /** While holed nothing passes: connections are taken, and nobody answers on them. */
  blackHole(holed: boolean): void;
  /** Bytes a second that pass each way, over all connections; null ends it. */
  limit(limits: { toBrokerBytesPerSecond: number | null; toClientBytesPerSecond: number | null }): void;
  /** Ends every fault. */
  calm(): void;
}

export interface PostgresControl {
  readonly url: string;
  /** Immediate shutdown: sessions are dropped, the log is replayed at the next start. */
  stopAtOnce(): Promise<void>;
  /** kill -9 of the server and all its children. */
  kill(): Promise<void>;
  /** SIGSTOP and SIGCONT of the server and all its children: it neither answers nor refuses. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Starts it on what it left; resolves when it takes connections. Nothing where it runs. */
  start(): Promise<void>;
}

export interface DiskControl {
  readonly sizeBytes: number;
  /** Writes a file until nothing more fits. */
  fill(): Promise<void>;
  /** Removes that file. */
  free(): Promise<void>;
}
