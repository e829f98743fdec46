/**
 * Owns changes in the database: each runs in ONE transaction together with its audit entries, the messages it owes to
 * topics, and the answer kept for a repeated request. Neighbours: every store that changes something runs through
 * {@link PostgresWrites}; `src/fraud/outbox/relay.ts` carries the messages on.
 *
 * Invariants
 * W1 Changes run one after another (an advisory lock taken first): audit entries chain without gaps, and outbox
 *    sequences rise in the order of commits, so a relay that reads "after n" misses none. People's changes are few.
 * W2 A change that fails leaves nothing: no audit entry, no message, no kept answer.
 */
import type { DataSource, EntityManager } from 'typeorm';
import { type AuditEntry, type AuditEvent, auditHash, FIRST_PREVIOUS_HASH } from '../../fraud/audit/audit-trail.js';
import { IdempotencyKeyReusedError, type WriteRequest } from '../../fraud/audit/write-request.js';
import type { OutboxMessage } from '../../fraud/outbox/outbox.js';
import { StreamError } from '../../stream/errors.js';
import type { Clock } from '../../stream/ports.js';
import { ADVISORY_LOCKS } from './advisory-locks.js';
import { databaseError } from './database-errors.js';

/** What a change may do besides its own statements. */
export interface WriteTransaction {
  readonly manager: EntityManager;
  /** The time that everything in this change carries, ms since 1970. */
  readonly nowMs: number;
  audit(event: AuditEvent): void;
  publish(message: OutboxMessage): void;
}

/** The channel on which the relay hears of new messages. */
export const OUTBOX_CHANNEL = 'fraud_outbox';
const KEPT_ANSWER_MS = 24 * 3_600_000;

export class PostgresWrites {
  constructor(
    private readonly dataSource: DataSource,
    private readonly clock: Pick<Clock, 'now'>,
  ) {}

  /**
   * Carries a change out, or gives the answer it gave the first time (same actor, idempotency key and request). What
   * `change` returns must survive JSON. Domain errors that it throws pass through and undo everything.
   * Errors: {@link IdempotencyKeyReusedError}; code `database-unavailable`.
   */
  async run<T>(request: WriteRequest, change: (transaction: WriteTransaction) => Promise<T>): Promise<T> {
    try {
      return await this.dataSource.transaction((manager) => this.carryOut(manager, request, change));
    } catch (error) {
      if (error instanceof StreamError) throw error;
      throw databaseError(error, 'carrying out a change');
    }
  }

  private async carryOut<T>(
    manager: EntityManager,
    request: WriteRequest,
    change: (transaction: WriteTransaction) => Promise<T>,
  ): Promise<T> {
    await manager.query('SELECT pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.write]);
    const kept = await keptAnswer<T>(manager, request);
    if (kept !== null) return kept.answer;
    const nowMs = this.clock.now();
    const events: AuditEvent[] = [];
    const messages: OutboxMessage[] = [];
    const answer = await change({
      manager,
      nowMs,
      audit: (event) => events.push(event),
      publish: (message) => messages.push(message),
    });
    await appendAudit(manager, request, nowMs, events);
    await appendOutbox(manager, nowMs, messages);
    await keepAnswer(manager, request, nowMs, answer);
    return answer;
  }
}

async function keptAnswer<T>(manager: EntityManager, request: WriteRequest): Promise<{ readonly answer: T } | null> {
  const { actor, idempotency } = request;
  if (idempotency === null) return null;
  const rows: { fingerprint: string; answer: string }[] = await manager.query(
    'SELECT fingerprint, answer FROM idempotency_keys WHERE actor_id = $1 AND key = $2',
    [actor.id, idempotency.key],
  );
  const [row] = rows;
  if (row === undefined) return null;
  if (row.fingerprint !== idempotency.fingerprint) throw new IdempotencyKeyReusedError(idempotency.key);
  return { answer: (JSON.parse(row.answer) as { answer: T }).answer };
}

async function keepAnswer(
  manager: EntityManager,
  { actor, idempotency }: WriteRequest,
  nowMs: number,
  answer: unknown,
): Promise<void> {
  if (idempotency === null) return;
  await manager.query('DELETE FROM idempotency_keys WHERE at < $1', [new Date(nowMs - KEPT_ANSWER_MS)]);
  await manager.query(
    'INSERT INTO idempotency_keys (actor_id, key, fingerprint, answer, at) VALUES ($1, $2, $3, $4, $5)',
    [actor.id, idempotency.key, idempotency.fingerprint, JSON.stringify({ answer }), new Date(nowMs)],
  );
}

async function appendAudit(
  manager: EntityManager,
  { actor, requestId }: WriteRequest,
  nowMs: number,
  events: readonly AuditEvent[],
): Promise<void> {
  if (events.length === 0) return;
  const last: { sequence: string; hash: string }[] = await manager.query(
    'SELECT sequence, hash FROM audit_entries ORDER BY sequence DESC LIMIT 1',
  );
  let sequence = Number(last[0]?.sequence ?? 0);
  let previousHash = last[0]?.hash ?? FIRST_PREVIOUS_HASH;
  const { id, name, kind } = actor;
  for (const { action, subject, details } of events) {
    sequence += 1;
    const content: Omit<AuditEntry, 'hash'> = {
      sequence,
      at: nowMs,
      actor: { id, name, kind },
      action,
      subject,
      details: JSON.parse(JSON.stringify(details)) as Record<string, unknown>,
      requestId,
      previousHash,
    };
    const hash = auditHash(content);
    await manager.query(
      `INSERT INTO audit_entries
         (sequence, at, actor_id, action, subject_kind, subject_id, entry, previous_hash, hash)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [sequence, new Date(nowMs), id, action, subject.kind, subject.id, JSON.stringify(content), previousHash, hash],
    );
    previousHash = hash;
  }
}

async function appendOutbox(manager: EntityManager, nowMs: number, messages: readonly OutboxMessage[]): Promise<void> {
  if (messages.length === 0) return;
  const given: { last_sequence: string }[] = await manager
    .query('UPDATE outbox_sequence SET last_sequence = last_sequence + $1 RETURNING last_sequence', [messages.length])
    .then((result: [{ last_sequence: string }[], number]) => result[0]);
  const first = Number(given[0]?.last_sequence ?? 0) - messages.length + 1;
  await manager.query(
    `INSERT INTO outbox (sequence, topic, key, value, at)
     SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])`,
    [
      messages.map((_, index) => first + index),
      messages.map(({ topic }) => topic),
      messages.map(({ key }) => key),
      messages.map(({ value }) => (value === null ? null : JSON.stringify(value))),
      messages.map(() => new Date(nowMs)),
    ],
  );
  await manager.query('SELECT pg_notify($1, $2)', [OUTBOX_CHANNEL, '']);
}
