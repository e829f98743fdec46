/**
 * Owns reading the audit trail: the filter, the port, and the check of the whole chain as entries stream by. Pure but
 * for the port. Neighbours: `audit-trail.ts` says what an entry is; the API lists, `fraud audit verify` checks.
 */
import { type AuditEntry, auditFault } from './audit-trail.js';

/** All given ones must hold. Times in ms since 1970; `from` counts in, `to` does not. */
export interface AuditFilter {
  readonly actorId?: string | undefined;
  readonly action?: string | undefined;
  readonly subjectKind?: string | undefined;
  readonly subjectId?: string | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/** The last entry. Noted elsewhere, it shows later that nothing was cut off. */
export interface AuditHead {
  /** 0 where there is none. */
  readonly sequence: number;
  readonly hash: string;
}

/** Errors: code `database-unavailable`. */
export interface AuditReader {
  /** Newest first; `before` is a sequence. */
  list(
    filter: AuditFilter,
    limit: number,
    before: number | null,
  ): Promise<{ readonly items: readonly AuditEntry[]; readonly next: number | null }>;
  head(): Promise<AuditHead>;
}

/** An entry as it is kept: the hashed content, and the columns beside it by which it is found. */
export interface KeptAuditEntry {
  /** The content as JSON text. */
  readonly entry: string;
  readonly hash: string;
  readonly columns: {
    readonly sequence: number;
    readonly at: number;
    readonly actorId: string;
    readonly action: string;
    readonly subjectKind: string;
    readonly subjectId: string;
    readonly previousHash: string;
  };
}

/** The entry of what is kept; null where the text is none. */
export function readKeptEntry({ entry, hash }: KeptAuditEntry): AuditEntry | null {
  try {
    const content: unknown = JSON.parse(entry);
    // What was written comes back letter by letter: no field twice, none besides those that the hash covers.
    return isContent(content) && JSON.stringify(content) === entry ? { ...content, hash } : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

const CONTENT_FIELDS = 'action,actor,at,details,previousHash,requestId,sequence,subject';

function isContent(value: unknown): value is Omit<AuditEntry, 'hash'> {
  if (typeof value !== 'object' || value === null) return false;
  if (Object.keys(value).sort().join() !== CONTENT_FIELDS) return false;
  const { actor, subject, details } = value as Partial<AuditEntry>;
  return [actor, subject, details].every((part) => typeof part === 'object' && part !== null);
}

export interface AuditFault {
  /** Of the first entry that is not as it must be. */
  readonly sequence: number;
  readonly message: string;
}

/** Walks the chain from its beginning. The first fault ends it: behind it nothing can be said. */
export class AuditWalk {
  private last: AuditHead | null = null;
  private found: AuditFault | null = null;

  /** `noted` is a head that somebody wrote down earlier; null for none. */
  constructor(private readonly noted: AuditHead | null) {}

  /** False once there is a fault. */
  take(kept: KeptAuditEntry): boolean {
    const message = this.faultOf(kept);
    if (message === null) {
      this.last = { sequence: kept.columns.sequence, hash: kept.hash };
      return true;
    }
    const expected = (this.last?.sequence ?? 0) + 1;
    this.found = { sequence: Math.min(expected, kept.columns.sequence), message };
    return false;
  }

  /** To be asked once all entries were taken, or one was refused. */
  end(): { readonly checked: number; readonly head: AuditHead | null; readonly fault: AuditFault | null } {
    const checked = this.last?.sequence ?? 0;
    const { noted } = this;
    if (this.found === null && noted !== null && noted.sequence > checked) {
      const message = `entries ${checked + 1} to ${noted.sequence} are missing at the end: the head noted was ${noted.sequence}`;
      this.found = { sequence: checked + 1, message };
    }
    return { checked, head: this.last, fault: this.found };
  }

  private faultOf(kept: KeptAuditEntry): string | null {
    const { sequence } = kept.columns;
    const entry = readKeptEntry(kept);
    if (entry === null) return `entry ${sequence} holds no content that can be read`;
    const fault = auditFault(entry, this.last);
    if (fault !== null) return fault;
    const { columns } = kept;
    const shown = [columns.at, columns.actorId, columns.action, columns.subjectKind, columns.subjectId];
    const hashed = [entry.at, entry.actor.id, entry.action, entry.subject.kind, entry.subject.id];
    const same = shown.every((value, index) => value === hashed[index]);
    if (!same || columns.sequence !== entry.sequence || columns.previousHash !== entry.previousHash) {
      return `entry ${sequence} is filed under columns that its content does not have`;
    }
    if (this.noted?.sequence === sequence && this.noted.hash !== kept.hash) {
      return `entry ${sequence} is another one than the head noted: the trail was written anew up to there`;
    }
    return null;
  }
}
