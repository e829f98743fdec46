/**
 * Owns keeping the work on alerts: the alert's row, its history, the audit entry and the label that it owes, in one
 * database transaction. Neighbours: `src/fraud/cases/alert-work.ts` says what an action makes of an alert, `writes.ts`
 * carries the transaction, the outbox takes the label to its topic.
 */
import { type Precondition, requireRevision } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import {
  AlertNotFoundError,
  type AlertWork,
  type WorkAction,
  type WorkDone,
  type WorkedAlert,
  workOn,
} from '../../fraud/cases/alert-work.js';
import type { AlertHead, WorkState } from '../../fraud/cases/stored-alert.js';
import { HEAD_COLUMNS, type HeadRow, headOf } from './alert-rows.js';
import { lockAlertOrder } from './alert-sequence.js';
import type { PostgresWrites, WriteTransaction } from './writes.js';

export class PostgresAlertWork implements AlertWork {
  constructor(
    private readonly writes: PostgresWrites,
    private readonly labelsTopic: string,
  ) {}

  async carryOut(
    request: WriteRequest,
    alertId: string,
    expected: Precondition | null,
    action: WorkAction,
  ): Promise<AlertHead> {
    return this.writes.run(request, async (transaction) => {
      const alert = await lockAlert(transaction, alertId, action);
      if (expected !== null) requireRevision(expected, `Alert ${alertId}`, alert.revision);
      const { labelId, ...head } = alert;
      const done = workOn(alert, action, request.actor, transaction.nowMs);
      if (done === null) return head;
      await keep(transaction, alertId, labelId, done);
      transaction.audit({
        action: `alert.${done.entry.action}`,
        subject: { kind: 'alert', id: alertId },
        details: { before: workStateOf(head), after: done.after, labelId: done.label?.labelId ?? null },
      });
      if (done.label !== null) {
        transaction.publish({ topic: this.labelsTopic, key: done.label.cardId, value: done.label });
      }
      return { ...head, ...done.after };
    });
  }

  async recordExport(request: WriteRequest, details: Readonly<Record<string, unknown>>): Promise<void> {
    await this.writes.run(request, async (transaction) => {
      transaction.audit({ action: 'alerts.exported', subject: { kind: 'alerts', id: 'export' }, details });
      return null;
    });
  }
}

async function lockAlert(
  { manager }: WriteTransaction,
  alertId: string,
  { kind }: WorkAction,
): Promise<AlertHead & Pick<WorkedAlert, 'labelId'>> {
  // Counts by hour change with dispositions; those that come in with new alerts change them under the same lock.
  if (kind === 'dispose' || kind === 'reopen') await lockAlertOrder(manager);
  const rows: (HeadRow & { label_id: string | null })[] = await manager.query(
    `SELECT ${HEAD_COLUMNS}, label_id FROM alerts WHERE alert_id = $1 FOR UPDATE`,
    [alertId],
  );
  const [row] = rows;
  if (row === undefined) throw new AlertNotFoundError(alertId);
  return { ...headOf(row), labelId: row.label_id };
}

async function keep(
  { manager }: WriteTransaction,
  alertId: string,
  labelBefore: string | null,
  { after, entry, label }: WorkDone,
): Promise<void> {
  const { state, revision, assignee, disposition, reasonCode } = after;
  await manager.query(
    `UPDATE alerts SET state = $2, revision = $3, assignee = $4, disposition = $5, reason_code = $6, label_id = $7
     WHERE alert_id = $1`,
    [alertId, state, revision, assignee, disposition, reasonCode, label?.labelId ?? labelBefore],
  );
  await manager.query('INSERT INTO alert_work (alert_id, revision, entry) VALUES ($1, $2, $3)', [
    alertId,
    revision,
    JSON.stringify(entry),
  ]);
}

function workStateOf({ state, revision, assignee, disposition, reasonCode }: AlertHead): WorkState {
  return { state, revision, assignee, disposition, reasonCode };
}
