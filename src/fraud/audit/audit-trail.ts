/**
 * Owns the audit trail's entries and their chain: each entry's hash covers its content and the hash before it, so that
 * an entry changed, removed or slipped in breaks the chain from there on. Pure; `src/adapters/postgres` keeps it.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.js';

/** What was done. Verbs in the past, kebab-case behind the kind of subject: `rule.activated`. */
export interface AuditEvent {
  readonly action: string;
  readonly subject: { readonly kind: string; readonly id: string };
  /** JSON values alone; before and after where something changed. Never a secret. */
  readonly details: Readonly<Record<string, unknown>>;
}

export interface AuditEntry extends AuditEvent {
  /** From 1 on, without gaps. */
  readonly sequence: number;
  /** ms since 1970. */
  readonly at: number;
  readonly actor: { readonly id: string; readonly name: string; readonly kind: string };
  readonly requestId: string;
  /** Hash of the entry before; 64 zeros for the first. */
  readonly previousHash: string;
  /** sha256, hex. */
  readonly hash: string;
}

export const FIRST_PREVIOUS_HASH = '0'.repeat(64);

/** The hash that an entry must have. */
export function auditHash(entry: Omit<AuditEntry, 'hash'>): string {
  const { sequence, at, actor, action, subject, details, requestId, previousHash } = entry;
  const covered = { sequence, at, actor, action, subject, details, requestId, previousHash };
  return createHash('sha256').update(canonicalJson(covered)).digest('hex');
}

/** What is wrong with an entry, seen against the one before it; null where it is as it was written. */
export function auditFault(entry: AuditEntry, before: Pick<AuditEntry, 'sequence' | 'hash'> | null): string | null {
  const expectedSequence = (before?.sequence ?? 0) + 1;
  if (entry.sequence !== expectedSequence) {
    return `entry ${expectedSequence} is missing: after ${before?.sequence ?? 'the beginning'} comes ${entry.sequence}`;
  }
  if (entry.previousHash !== (before?.hash ?? FIRST_PREVIOUS_HASH)) {
    return `entry ${entry.sequence} does not join on to the entry before it`;
  }
  const { hash, ...content } = entry;
  return auditHash(content) === hash ? null : `entry ${entry.sequence} was changed after it was written`;
}
