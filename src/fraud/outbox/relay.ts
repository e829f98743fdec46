/**
 * Owns carrying the outbox's messages to their topics, each exactly once and in order. Neighbours: `outbox.ts` is the
 * database's side, `position.ts` the form of what the state log remembers, the port `EpochLog` the log's side.
 *
 *   waiting ──seat──► recovering ──position known──► running ⇄ recovering   (a commit in doubt, another outbox)
 *      ▲                   │                            │
 *      └────── retrying ◄──┴── seat lost, fenced, any other trouble
 *                                            any state ── stop() ──► stopped
 *
 * Invariants
 * R1 A batch's messages and the position behind them become visible in one Kafka transaction: the state log is the only
 *    authority on what has been relayed. What the database still holds up to that position is forgotten, never sent.
 * R2 One relay commits: taking over fences every earlier one. The seat keeps relays from taking over all the time.
 * R3 After any doubt about a commit: fence, then read the position again (I3).
 * R4 Sequences are relayed without a gap. What cannot be explained stops the relay with a reason; it skips nothing.
 */
import { asStreamError, CommitDoubtfulError, StreamError } from '../../stream/errors.js';
import type { Clock, EpochLog, LogBackend } from '../../stream/ports.js';
import type { OutputRecord } from '../../stream/records.js';
import { retryDelayMs, sitOut } from '../../stream/runtime/retries.js';
import { Signal } from '../../stream/runtime/signal.js';
import type { Outbox, OutboxEntry, OutboxPage, OutboxSeat } from './outbox.js';
import { decodePosition, encodePosition } from './position.js';

export type RelayState = 'waiting' | 'recovering' | 'running' | 'retrying' | 'stopped';

export interface RelayStatus {
  readonly state: RelayState;
  /** What went wrong, while it is being tried again. */
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Messages relayed by this process. */
  readonly relayed: number;
  /** Messages that wait to be relayed, as last seen; null where this process does not hold the seat. */
  readonly lag: number | null;
  /** Since when the oldest of them waits, ms since 1970; null where none does. */
  readonly waitingSince: number | null;
}

/** Tells how the relay of this process is. Must be quick: it is asked at every scrape. */
export interface RelayStatusSource {
  status(): RelayStatus;
}

export interface RelayParts {
  readonly outbox: Outbox;
  readonly backend: Pick<LogBackend, 'openEpochLog'>;
  /** Under which earlier relays are fenced: the same in the whole deployment. */
  readonly taskId: string;
  readonly stateLogTopic: string;
  readonly clock: Clock;
  /** Told of trouble, to be logged. */
  onTrouble?(error: StreamError, retryInMs: number): void;
}

/** Header of every relayed message: its sequence, in digits. Rises by one from message to message over all topics. */
export const OUTBOX_SEQUENCE_HEADER = 'outbox-sequence';

/** One Kafka transaction's worth: far below what brokers refuse, and quick enough never to hold readers up. */
const BATCH = { entries: 5_000, bytes: 4 * 1024 * 1024 } as const;
/** Notifications can be lost with a connection; this is looked for without one. */
const POLL_MS = 1_000;
/** The state log holds a record a commit, of which the last one counts. */
const TRUNCATE_EVERY_COMMITS = 256;

/** Where the relay stands; known once the log has been read. */
interface Place {
  readonly outboxId: string;
  /** Null where the log remembers nothing of this outbox: then it begins with whatever there is. */
  sequence: number | null;
}

export class OutboxRelay implements RelayStatusSource {
  private state: RelayState = 'waiting';
  private error: StreamError | null = null;
  private relayed = 0;
  private lag: number | null = null;
  private waitingSince: number | null = null;
  private failures = 0;
  private commits = 0;
  private lost: Error | null = null;
  private readonly stopping = new AbortController();
  private readonly signal: Signal;
  private running: Promise<void> = Promise.resolve();

  constructor(private readonly parts: RelayParts) {
    this.signal = new Signal(parts.clock);
  }

  /** Begins to relay. Returns at once; trouble shows in `status` and is retried. */
  start(): void {
    this.running = this.run();
  }

  /** Lets a commit under way end, then gives the seat back. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.signal.wake();
    await this.running;
  }

  status(): RelayStatus {
    const { state, error, relayed, lag, waitingSince } = this;
    const isTrouble = error !== null && (state === 'retrying' || state === 'recovering');
    const told = isTrouble ? { code: error.code, message: error.message } : null;
    return { state, error: told, relayed, lag, waitingSince };
  }

  private get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  /** Never rejects. */
  private async run(): Promise<void> {
    while (!this.stopped) {
      try {
        await this.takeTurn();
      } catch (thrown) {
        if (!this.stopped) await this.backOff(thrown, 'retrying');
      }
    }
    this.state = 'stopped';
    this.lag = null;
  }

  private async takeTurn(): Promise<void> {
    const { outbox, backend, taskId, stateLogTopic } = this.parts;
    this.state = 'waiting';
    this.lost = null;
    const handlers = {
      onEntries: () => this.signal.wake(),
      onLost: (error: Error) => {
        this.lost ??= error;
        this.signal.wake();
      },
    };
    const seat: OutboxSeat | null = await outbox.takeSeat(handlers, this.stopping.signal);
    if (seat === null) return;
    this.state = 'recovering';
    try {
      const log = await backend.openEpochLog({ taskId, stateLog: { topic: stateLogTopic, partition: 0 } });
      try {
        await this.serve(log);
      } finally {
        await log.close();
      }
    } finally {
      this.lag = null;
      this.waitingSince = null;
      await seat.release();
    }
  }

  private async serve(log: EpochLog): Promise<void> {
    let place = await this.recover(log);
    while (!this.stopped) {
      if (this.lost !== null) throw seatLost(this.lost);
      try {
        const page = await this.parts.outbox.after(place.sequence ?? 0, BATCH);
        if (page.outboxId !== place.outboxId) {
          place = await this.recover(log);
          continue;
        }
        this.look(place, page);
        if (page.entries.length === 0) await this.signal.wait(POLL_MS);
        else await this.relay(log, place, page);
      } catch (thrown) {
        if (!(thrown instanceof CommitDoubtfulError)) throw thrown;
        await this.backOff(thrown, 'recovering');
        if (!this.stopped) place = await this.recover(log); // R3
      }
    }
  }

  /** Fences, then learns from the log what has been relayed. R2, R3 */
  private async recover(log: EpochLog): Promise<Place> {
    this.state = 'recovering';
    await log.fence();
    const { outboxId, lastSequence } = await this.parts.outbox.head();
    const { start } = await log.stateLogRange();
    let sequence: number | null = null;
    await log.readStateLog(start, (value, offset) => {
      const position = decodePosition(value, `Record ${offset} of ${this.parts.stateLogTopic}-0`);
      if (position.outboxId === outboxId) sequence = position.sequence;
    });
    const place: Place = { outboxId, sequence };
    if (place.sequence !== null) {
      if (place.sequence > lastSequence) throw outboxBehind(place.sequence, lastSequence);
      await this.parts.outbox.forget(place.sequence); // A crash may have come between commit and this.
    }
    this.state = 'running';
    return place;
  }

  private look({ sequence }: Place, { lastSequence, entries }: OutboxPage): void {
    const first = entries[0];
    const expected = (sequence ?? 0) + 1;
    if (sequence !== null && lastSequence < sequence) throw outboxBehind(sequence, lastSequence);
    if (sequence !== null && (first?.sequence ?? lastSequence + 1) !== expected) {
      throw entriesMissing(expected, first?.sequence ?? lastSequence + 1); // R4
    }
    this.lag = first === undefined ? 0 : lastSequence - first.sequence + 1;
    this.waitingSince = first?.at ?? null;
    if (first === undefined) this.wentWell();
  }

  private async relay(log: EpochLog, place: Place, { outboxId, entries, lastSequence }: OutboxPage): Promise<void> {
    const sequence = entries[entries.length - 1].sequence;
    const stateLog = [encodePosition({ outboxId, sequence })];
    const { firstStateLogOffset } = await log.commit({ outputs: entries.map(recordOf), stateLog }); // R1
    place.sequence = sequence;
    this.relayed += entries.length;
    this.lag = lastSequence - sequence;
    if (this.lag === 0) this.waitingSince = null;
    this.wentWell();
    await this.parts.outbox.forget(sequence);
    if (++this.commits % TRUNCATE_EVERY_COMMITS === 0) await log.truncateStateLog(firstStateLogOffset);
  }

  private wentWell(): void {
    this.failures = 0;
    this.error = null;
  }

  private async backOff(thrown: unknown, state: RelayState): Promise<void> {
    const error = asStreamError(thrown, 'relay-failed', 'Relaying changes failed: ');
    const delayMs = retryDelayMs(this.failures++);
    this.state = state;
    this.error = error;
    this.parts.onTrouble?.(error, delayMs);
    // New entries wake it too; they don't make the trouble shorter.
    await sitOut(delayMs, this.signal, this.parts.clock, () => this.stopped);
  }
}

function recordOf({ topic, key, value, sequence, at }: OutboxEntry): OutputRecord {
  return {
    topic,
    key: Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: [[OUTBOX_SEQUENCE_HEADER, Buffer.from(String(sequence))]],
    timestampMs: at,
  };
}

/** What people do once they know which entries were relayed: a new identity, and the log's memory no longer counts. */
const BEGIN_ANEW =
  'Delete from the table outbox what has been relayed already, then run ' +
  '`UPDATE outbox_sequence SET outbox_id = gen_random_uuid()`: the relay begins anew with what the table still holds.';

function outboxBehind(relayed: number, lastSequence: number): StreamError {
  return new StreamError(
    'outbox-behind',
    `The log has relayed changes up to ${relayed} of this database, which knows only ${lastSequence}: it was put back ` +
      `to an earlier state. ${BEGIN_ANEW}`,
  );
}

function entriesMissing(expected: number, found: number): StreamError {
  return new StreamError(
    'outbox-entries-missing',
    `Entries ${expected} to ${found - 1} are missing from the table outbox and were never relayed. ${BEGIN_ANEW}`,
  );
}

function seatLost(cause: Error): StreamError {
  return new StreamError('outbox-seat-lost', `The relay lost its seat in the database: ${cause.message}`, { cause });
}
