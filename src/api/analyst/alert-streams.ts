/**
 * Owns all streams of new alerts of this process: one reader of the feed for everybody, woken when alerts were stored.
 * Neighbours: `alert-stream.ts` is one client, the port `AlertFeed` finds and tells, `alert-stream.controller.ts` opens.
 *
 *   catching up (from Last-Event-ID, at the client's pace) → live (as alerts are stored) → ended
 *
 * A stream goes live in the same turn in which it is seen to have reached what was handed out last, so that nothing
 * falls in between.
 */
import type { AlertFeed, FedAlert, FeedFilter } from '../../fraud/cases/alert-feed.js';
import { StreamError } from '../../stream/errors.js';
import type { Clock } from '../../stream/ports.js';
import { RequestInvalidError } from '../http-errors.js';
import { AlertStream } from './alert-stream.js';

export interface AlertStreamsParts {
  readonly feed: AlertFeed;
  readonly clock: Clock;
  /** Streams at once; 200 where left out. */
  readonly mostStreams?: number;
  /** Told once when alerts can't be read, and again after they could be. */
  onTrouble(error: unknown): void;
}

const MOST_STREAMS = 200;
const PAGE = 200;
/** For what the database did not tell of. */
const POLL_MS = 1_000;
const HEARTBEAT_MS = 15_000;
/** Then credentials are looked at again: the client comes back with Last-Event-ID. */
const LONGEST_STREAM_MS = 900_000;
/** What a client that is too slow gets to take the reason. */
const LAST_WORDS_MS = 2_000;
/** A client that catches up must take something within. */
const CATCH_UP_PAUSE_MS = 30_000;

export class TooManyStreamsError extends StreamError {
  constructor(most: number) {
    super('too-many-streams', `${most} streams are open here; close one, or list alerts instead.`);
  }
}

export class AlertStreams {
  private readonly live = new Set<AlertStream>();
  /** All that are open, those that catch up too. */
  private readonly open = new Set<AlertStream>();
  private opening = 0;
  /** All alerts up to this sequence have been offered to live streams. */
  private handedOut = 0;
  private listening: { close(): Promise<void> } | null = null;
  private reading = false;
  private readAgain = false;
  private inTrouble = false;
  private closed = false;
  private cancelPoll: () => void = () => {};
  private cancelHeartbeat: () => void = () => {};

  constructor(private readonly parts: AlertStreamsParts) {}

  /**
   * A stream from the alert behind `lastEventId` on, from now on where that is null.
   * Errors: {@link TooManyStreamsError}, {@link RequestInvalidError}, code `database-unavailable`.
   */
  async start(filter: FeedFilter, lastEventId: number | null): Promise<AlertStream> {
    const most = this.parts.mostStreams ?? MOST_STREAMS;
    if (this.closed || this.open.size + this.opening >= most) throw new TooManyStreamsError(most);
    this.opening++;
    try {
      await this.begin(lastEventId);
    } finally {
      this.opening--;
    }
    // No await from here on: what is handed out next reaches this stream too.
    const stream = new AlertStream(filter, lastEventId ?? this.handedOut, this.parts.clock.monotonic());
    this.open.add(stream);
    stream.readable.once('close', () => {
      this.open.delete(stream);
      this.live.delete(stream);
    });
    if (this.closed) stream.end('the server stops');
    else if (stream.position < this.handedOut) void this.catchUp(stream);
    else this.live.add(stream);
    // What was told of while nobody was there.
    this.read();
    return stream;
  }

  /** Ends all streams. */
  async close(): Promise<void> {
    this.closed = true;
    this.cancelPoll();
    this.cancelHeartbeat();
    for (const stream of this.open) stream.end('the server stops');
    await this.listening?.close();
    this.listening = null;
  }

  private async begin(lastEventId: number | null): Promise<void> {
    if (this.listening === null && !this.closed) {
      this.listening = this.parts.feed.listen(() => this.read());
      this.armPoll();
      this.armHeartbeat();
    }
    // While nobody is there nothing is read: the first one starts from what is newest.
    const isFirst = this.open.size === 0;
    if (!isFirst && (lastEventId === null || lastEventId <= this.handedOut)) return;
    const latest = await this.parts.feed.latest();
    if (lastEventId !== null && lastEventId > latest) {
      const message = 'is ahead of everything that is stored; start again without it';
      throw new RequestInvalidError([{ name: 'Last-Event-ID', message }]);
    }
    if (this.open.size === 0) this.handedOut = Math.max(this.handedOut, latest);
  }

  /** Reads what is new and hands it out; asked while it reads, it reads once more. */
  private read(): void {
    if (this.open.size === 0 || this.closed) return;
    if (this.reading) {
      this.readAgain = true;
      return;
    }
    this.reading = true;
    void this.readAll().finally(() => {
      this.reading = false;
      if (this.readAgain) {
        this.readAgain = false;
        this.read();
      }
    });
  }

  private async readAll(): Promise<void> {
    try {
      for (;;) {
        const page = await this.parts.feed.after(this.handedOut, Number.MAX_SAFE_INTEGER, {}, PAGE);
        for (const fed of page) this.handOut(fed);
        this.inTrouble = false;
        if (page.length < PAGE || this.closed) return;
      }
    } catch (error) {
      // The poll tries again.
      if (!this.inTrouble && !this.closed) this.parts.onTrouble(error);
      this.inTrouble = true;
    }
  }

  private handOut(fed: FedAlert): void {
    this.handedOut = Math.max(this.handedOut, fed.sequence);
    for (const stream of this.live) if (!stream.offer(fed)) this.cutOff(stream);
  }

  private async catchUp(stream: AlertStream): Promise<void> {
    try {
      while (stream.isOpen) {
        const upTo = this.handedOut;
        const page = await this.parts.feed.after(stream.position, upTo, stream.filter, PAGE);
        for (const fed of page) stream.offer(fed);
        if (page.length < PAGE) stream.passTo(upTo);
        await this.whenTaken(stream);
        if (stream.position >= this.handedOut && stream.isOpen) {
          this.live.add(stream);
          return;
        }
      }
    } catch (error) {
      this.parts.onTrouble(error);
      stream.end('the database does not answer; come back');
    }
  }

  private async whenTaken(stream: AlertStream): Promise<void> {
    const cancel = this.parts.clock.schedule(CATCH_UP_PAUSE_MS, () => this.cutOff(stream));
    await stream.whenTaken();
    cancel();
  }

  /** The client does not take what it is sent, and it must not be kept for it. */
  private cutOff(stream: AlertStream): void {
    this.live.delete(stream);
    stream.end('too slow; come back with Last-Event-ID');
    this.parts.clock.schedule(LAST_WORDS_MS, () => stream.readable.destroy());
  }

  private armPoll(): void {
    this.cancelPoll = this.parts.clock.schedule(POLL_MS, () => {
      this.read();
      this.armPoll();
    });
  }

  private armHeartbeat(): void {
    this.cancelHeartbeat = this.parts.clock.schedule(HEARTBEAT_MS, () => {
      const opened = this.parts.clock.monotonic() - LONGEST_STREAM_MS;
      for (const stream of this.open) {
        if (stream.openedAtMs < opened) stream.end('long enough; come back with Last-Event-ID');
        else stream.heartbeat();
      }
      this.armHeartbeat();
    });
  }
}
