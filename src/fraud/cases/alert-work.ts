/**
 * Owns what analysts do to an alert and what becomes of it: pure, no I/O. Neighbours: `stored-alert.ts` has the states,
 * `src/adapters/postgres/alert-work.ts` carries work out in one database transaction behind {@link AlertWork}, the API
 * asks for it.
 *
 * Invariants
 * A1 Each piece of work makes exactly one revision, and one entry of the history with that number.
 * A2 Each disposition makes exactly one label; the label names the one before it of the same alert.
 */
import { StreamError } from '../../stream/errors.js';
import type { Actor } from '../access/actor.js';
import type { Precondition } from '../audit/precondition.js';
import type { WriteRequest } from '../audit/write-request.js';
import type { Disposition, ReasonCode } from '../labels/disposition.js';
import { type Label, labelId } from '../labels/label.js';
import type { AlertHead, WorkEntry, WorkState } from './stored-alert.js';

export type WorkAction =
  /** Null: nobody any more. */
  | { readonly kind: 'assign'; readonly assignee: string | null }
  | { readonly kind: 'note'; readonly note: string }
  /** The reason code belongs to the disposition; the API's schema sees to it. */
  | {
      readonly kind: 'dispose';
      readonly disposition: Disposition;
      readonly reasonCode: ReasonCode;
      readonly note: string | null;
    }
  | { readonly kind: 'reopen'; readonly note: string | null };

export class AlertNotFoundError extends StreamError {
  constructor(alertId: string) {
    super('alert-not-found', `No alert has the id '${alertId.slice(0, 64)}'.`);
  }
}

/** What is asked for does not fit the state that the alert is in. */
export class AlertStateError extends StreamError {
  constructor(code: 'alert-closed' | 'alert-not-closed' | 'disposition-unchanged', message: string) {
    super(code, message);
  }
}

/** An alert as work finds it. */
export type WorkedAlert = Pick<
  AlertHead,
  keyof WorkState | 'alertId' | 'paymentId' | 'cardId' | 'merchantId' | 'occurredAt'
> & {
  /** Its newest label's id, also where it was reopened since. */
  readonly labelId: string | null;
};

export interface WorkDone {
  readonly after: WorkState;
  readonly entry: WorkEntry;
  readonly label: Label | null;
}

/**
 * What an action makes of an alert; null where it changes nothing (assigned to whom it is assigned).
 * Errors: {@link AlertStateError}.
 */
export function workOn(
  alert: WorkedAlert,
  action: WorkAction,
  actor: Pick<Actor, 'id' | 'name'>,
  nowMs: number,
): WorkDone | null {
  const { state, assignee, disposition, reasonCode } = alert;
  const revision = alert.revision + 1;
  const before: WorkState = { state, revision, assignee, disposition, reasonCode };
  const entry = (changes: Pick<WorkEntry, 'action'> & Partial<WorkEntry>): WorkEntry => ({
    revision,
    at: nowMs,
    by: { id: actor.id, name: actor.name },
    assignee,
    disposition: null,
    reasonCode: null,
    note: null,
    ...changes,
  });
  switch (action.kind) {
    case 'assign': {
      if (state === 'closed') {
        throw new AlertStateError('alert-closed', 'The alert is closed; reopen it before you assign it.');
      }
      if (action.assignee === assignee) return null;
      const after = { ...before, assignee: action.assignee, state: workingState(action.assignee) };
      return { after, entry: entry({ action: 'assigned', assignee: action.assignee }), label: null };
    }
    case 'note':
      return { after: before, entry: entry({ action: 'noted', note: action.note }), label: null };
    case 'dispose':
      return {
        after: { ...before, state: 'closed', disposition: action.disposition, reasonCode: action.reasonCode },
        entry: entry({
          action: 'disposed',
          disposition: action.disposition,
          reasonCode: action.reasonCode,
          note: action.note,
        }),
        label: labelOf(alert, action, revision, actor, nowMs),
      };
    case 'reopen':
      if (state !== 'closed') throw new AlertStateError('alert-not-closed', `The alert is ${state}, not closed.`);
      return {
        after: { ...before, state: workingState(assignee), disposition: null, reasonCode: null },
        entry: entry({ action: 'reopened', note: action.note }),
        label: null,
      };
  }
}

/** Somebody works on an assigned alert. */
function workingState(assignee: string | null): 'open' | 'in-progress' {
  return assignee === null ? 'open' : 'in-progress';
}

function labelOf(
  alert: WorkedAlert,
  { disposition, reasonCode }: Extract<WorkAction, { kind: 'dispose' }>,
  revision: number,
  actor: Pick<Actor, 'id'>,
  nowMs: number,
): Label {
  // A second click must not become a second label.
  if (alert.disposition === disposition && alert.reasonCode === reasonCode) {
    throw new AlertStateError(
      'disposition-unchanged',
      `The alert is closed as ${disposition} (${reasonCode}) already. Add a note if there is more to say.`,
    );
  }
  return {
    labelId: labelId(alert.alertId, revision),
    alertId: alert.alertId,
    paymentId: alert.paymentId,
    cardId: alert.cardId,
    merchantId: alert.merchantId,
    occurredAt: alert.occurredAt,
    label: disposition,
    reasonCode,
    decidedBy: actor.id,
    decidedAt: nowMs,
    ...(alert.labelId === null ? {} : { supersedes: alert.labelId }),
  };
}

/** Carries work out: alert, history, audit entry and label together or not at all. */
export interface AlertWork {
  /**
   * The alert after it. `expected` null: whatever its revision is.
   * Errors: {@link AlertNotFoundError}, {@link AlertStateError}, `PreconditionFailedError`, `IdempotencyKeyReusedError`,
   * code `database-unavailable`.
   */
  carryOut(
    request: WriteRequest,
    alertId: string,
    expected: Precondition | null,
    action: WorkAction,
  ): Promise<AlertHead>;
  /** Keeps in the audit trail that somebody takes alerts away. Errors: code `database-unavailable`. */
  recordExport(request: WriteRequest, details: Readonly<Record<string, unknown>>): Promise<void>;
}
