/**
 * Owns what goes with every change: who asks, under which request, and the caller's idempotency key. Neighbours: the
 * API makes one for each write, stores behind `src/adapters/postgres/writes.ts` carry it out.
 */
import { createHash } from 'node:crypto';
import { StreamError } from '../../stream/errors.js';
import type { Actor } from '../access/actor.js';

export interface WriteRequest {
  readonly actor: Actor;
  /** As in the log and in problem+json's `instance`. */
  readonly requestId: string;
  /** Null where the caller gave none: the write is then carried out every time it is asked for. */
  readonly idempotency: Idempotency | null;
}

export interface Idempotency {
  /** The caller's, 1 to 255 visible characters; counts per actor. */
  readonly key: string;
  /** Of method, path and body: the same key with another request is an error. */
  readonly fingerprint: string;
}

/** The key has been used by this actor for another request. */
export class IdempotencyKeyReusedError extends StreamError {
  constructor(key: string) {
    super(
      'idempotency-key-reused',
      `The Idempotency-Key '${key.slice(0, 64)}' belongs to another request of yours; take a new key for a new request.`,
    );
  }
}

/** sha256 over method, path and canonical body text, hex. */
export function requestFingerprint(method: string, path: string, body: string): string {
  return createHash('sha256').update(`${method}\n${path}\n${body}`).digest('hex');
}
