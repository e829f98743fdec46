/**
 * Owns what every schema source does alike: it remembers answers within a bound, lets calls for the same id share one
 * request, bounds requests in number and time, and spares a registry that is in trouble. Neighbours: an adapter brings
 * the request itself (`lookup`).
 *
 * C1 Schemas under an id never change, so they are kept until there are too many. That an id is unknown is believed only
 *    when asked twice (a follower of the registry can lag behind the producer), and not for long.
 * C2 After a failure nothing is asked for a while, longer with each failure in a row: calls fail at once with the same
 *    error meanwhile. One answer of any kind ends that.
 */
import type { Clock } from '../../stream/ports.js';
import { retryDelayMs } from '../../stream/runtime/retries.js';
import {
  RegistryDeniedError,
  RegistryUnavailableError,
  type SchemaAnswer,
  type SchemaSource,
} from './schema-source.js';

export interface SchemaCacheOptions {
  /** Asks the registry. Errors as {@link SchemaSource.fetch}; anything else counts as unavailable. */
  lookup(id: number): Promise<SchemaAnswer>;
  readonly clock: Clock;
  /** Answers kept. */
  readonly maxSchemas: number;
  /** A request without an answer for this long has failed. */
  readonly timeoutMs: number;
  /** How soon an unknown id is asked for once more. 0: it is believed at once. */
  readonly askAgainMs?: number;
  /** How long an unknown id stays unknown. */
  readonly unknownForMs?: number;
  close?(): Promise<void>;
}

const MAX_IN_FLIGHT = 8;
const PAUSES = { firstMs: 100, longestMs: 3_000 };
const ASK_AGAIN_MS = 250;
const UNKNOWN_FOR_MS = 10_000;

export function cachedSchemas(options: SchemaCacheOptions): SchemaSource {
  return new CachedSchemas(options);
}

interface Kept {
  readonly answer: SchemaAnswer;
  /** Monotonic ms. */
  readonly until: number;
}

class CachedSchemas implements SchemaSource {
  /** In the order of their last use. */
  private readonly kept = new Map<number, Kept>();
  private readonly asked = new Map<number, Promise<SchemaAnswer>>();
  private readonly queue: (() => void)[] = [];
  private inFlight = 0;
  private failure: Error | null = null;
  private failuresInARow = 0;
  private pauseEndsAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: SchemaCacheOptions) {}

  peek(id: number): SchemaAnswer | null {
    const known = this.kept.get(id);
    if (known === undefined) return null;
    this.kept.delete(id);
    if (known.until <= this.options.clock.monotonic()) return null;
    this.kept.set(id, known);
    return known.answer;
  }

  fetch(id: number): Promise<SchemaAnswer> {
    const known = this.peek(id);
    if (known !== null) return Promise.resolve(known);
    const under = this.asked.get(id);
    if (under !== undefined) return under;
    const request = this.ask(id).finally(() => this.asked.delete(id));
    this.asked.set(id, request);
    return request;
  }

  async close(): Promise<void> {
    await this.options.close?.();
  }

  private async ask(id: number): Promise<SchemaAnswer> {
    const { clock, askAgainMs = ASK_AGAIN_MS, unknownForMs = UNKNOWN_FOR_MS } = this.options;
    let answer = await this.askOnce(id);
    if (answer.kind === 'unknown' && askAgainMs > 0) {
      await new Promise<void>((resolve) => clock.schedule(askAgainMs, resolve));
      answer = await this.askOnce(id); // C1
    }
    const lasts = answer.kind === 'unknown' ? unknownForMs : Number.POSITIVE_INFINITY;
    this.kept.set(id, { answer, until: clock.monotonic() + lasts });
    if (this.kept.size > this.options.maxSchemas) {
      const [oldest] = this.kept.keys();
      this.kept.delete(oldest);
    }
    return answer;
  }

  private async askOnce(id: number): Promise<SchemaAnswer> {
    if (this.inFlight >= MAX_IN_FLIGHT) await new Promise<void>((resolve) => this.queue.push(resolve));
    const { clock } = this.options;
    if (this.failure !== null && clock.monotonic() < this.pauseEndsAt) {
      this.queue.shift()?.();
      throw this.failure; // C2
    }
    this.inFlight += 1;
    try {
      const answer = await this.inTime(this.options.lookup(id));
      this.failure = null;
      this.failuresInARow = 0;
      return answer;
    } catch (error) {
      throw this.failed(error);
    } finally {
      this.inFlight -= 1;
      this.queue.shift()?.();
    }
  }

  private failed(cause: unknown): Error {
    const isKnown = cause instanceof RegistryUnavailableError || cause instanceof RegistryDeniedError;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = isKnown
      ? cause
      : new RegistryUnavailableError(`the schema registry gave no answer: ${reason}`, { cause });
    const pauseMs = retryDelayMs(this.failuresInARow++, PAUSES);
    this.failure = error;
    this.pauseEndsAt = this.options.clock.monotonic() + pauseMs;
    return error;
  }

  private inTime(request: Promise<SchemaAnswer>): Promise<SchemaAnswer> {
    const { clock, timeoutMs } = this.options;
    return new Promise((resolve, reject) => {
      const cancel = clock.schedule(timeoutMs, () =>
        reject(new RegistryUnavailableError(`the schema registry gave no answer within ${timeoutMs} ms`)),
      );
      request.then(resolve, reject).finally(cancel);
    });
  }
}
