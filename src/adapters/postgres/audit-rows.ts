/** Owns how an audit entry lies in its table. Neighbours: `writes.ts` writes the rows, lists and verification read them. */
import type { KeptAuditEntry } from '../../fraud/audit/audit-reading.js';

export const AUDIT_COLUMNS = 'sequence, at, actor_id, action, subject_kind, subject_id, entry, previous_hash, hash';

/** As the driver gives it: bigint as text. */
export interface AuditRow {
  readonly sequence: string;
  readonly at: Date;
  readonly actor_id: string;
  readonly action: string;
  readonly subject_kind: string;
  readonly subject_id: string;
  readonly entry: string;
  readonly previous_hash: string;
  readonly hash: string;
}

export function keptEntry(row: AuditRow): KeptAuditEntry {
  return {
    entry: row.entry,
    hash: row.hash,
    columns: {
      sequence: Number(row.sequence),
      at: row.at.getTime(),
      actorId: row.actor_id,
      action: row.action,
      subjectKind: row.subject_kind,
      subjectId: row.subject_id,
      previousHash: row.previous_hash,
    },
  };
}
