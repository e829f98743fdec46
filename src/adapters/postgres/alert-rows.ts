/**
 * Owns how a stored alert is asked for and read in SQL: its columns, the conditions of a filter, orders and places in
 * them. Neighbours: every `alert-*.ts` here that reads alerts.
 *
 * Plain SQL, as lists are asked for all day: hydrating entities cost more than the query itself.
 */
import type { Alert } from '../../fraud/alerts/alert.js';
import type { AlertFilter, AlertHead, AlertOrder, AlertPosition } from '../../fraud/cases/stored-alert.js';

const ms = (column: string) => `round(extract(epoch FROM ${column}) * 1000)::float8`;

/**
 * What {@link headOf} reads; evidence, most of an alert's bytes, is not in it. No result is named as the column it is
 * made from: ORDER BY would take the result for it, and no index serves that.
 */
export const HEAD_COLUMNS = `
  alert_id, card_id, payment_id, merchant_id, amount_minor::float8 AS amount, currency,
  ${ms('occurred_at')} AS occurred_ms, ${ms('detected_at')} AS detected_ms, decision, severity, score, rules,
  state, revision, assignee, disposition, reason_code, ${ms('stored_at')} AS stored_ms`;

export interface HeadRow {
  alert_id: string;
  card_id: string;
  payment_id: string | null;
  merchant_id: string | null;
  amount: number | null;
  currency: string | null;
  occurred_ms: number;
  detected_ms: number;
  decision: Alert['decision'];
  severity: Alert['severity'];
  score: number | null;
  rules: Alert['rules'];
  state: AlertHead['state'];
  revision: number;
  assignee: string | null;
  disposition: AlertHead['disposition'];
  reason_code: AlertHead['reasonCode'];
  stored_ms: number;
}

export function headOf(row: HeadRow): AlertHead {
  return {
    alertId: row.alert_id,
    cardId: row.card_id,
    paymentId: row.payment_id,
    merchantId: row.merchant_id,
    amountMinor: row.amount,
    currency: row.currency,
    occurredAt: row.occurred_ms,
    detectedAt: row.detected_ms,
    decision: row.decision,
    severity: row.severity,
    score: row.score,
    rules: row.rules,
    state: row.state,
    revision: row.revision,
    assignee: row.assignee,
    disposition: row.disposition,
    reasonCode: row.reason_code,
    storedAt: row.stored_ms,
  };
}

/** Conditions under way to a WHERE, with the values that they refer to as $1, $2 … */
export class Conditions {
  private readonly parts: string[] = [];
  readonly values: unknown[] = [];

  /** `$` in the text stands for the value. */
  add(text: string, value: unknown): void {
    this.values.push(value);
    this.parts.push(text.replace('$', `$${this.values.length}`));
  }

  addPlain(text: string): void {
    this.parts.push(text);
  }

  /** Adds a value, returns how the statement refers to it. */
  value(value: unknown): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }

  where(): string {
    return this.parts.length === 0 ? '' : `WHERE ${this.parts.join(' AND ')}`;
  }
}

/**
 * What lists are sorted by, as the indexes of the migration have it: an expression that is written otherwise is not
 * found there. Filters use the same ones, so that a rare score or amount is found by its index, too.
 */
const SCORE = "coalesce(score, '-1'::float8)";
const AMOUNT = "coalesce(amount_minor, '-1'::bigint)";

/** Each field of a filter that takes its value as it is. Where there is no score or amount, -1 is under every bound. */
const CONDITIONS = {
  state: 'state = $::text',
  decision: 'decision = $::text',
  severity: 'severity = $::text',
  cardId: 'card_id = $::text',
  merchantId: 'merchant_id = $::text',
  ruleId: 'rule_id = $::text',
  minScore: `${SCORE} >= $::float8`,
  maxScore: `(${SCORE} >= 0 AND ${SCORE} <= $::float8)`,
  minAmountMinor: `${AMOUNT} >= $::bigint`,
  maxAmountMinor: `(${AMOUNT} >= 0 AND ${AMOUNT} <= $::bigint)`,
  currency: 'currency = $::text',
  from: 'detected_at >= to_timestamp($::float8 / 1000)',
  to: 'detected_at < to_timestamp($::float8 / 1000)',
} as const satisfies Partial<Record<keyof AlertFilter, string>>;

export function conditionsOf(filter: AlertFilter): Conditions {
  const conditions = new Conditions();
  for (const [field, text] of Object.entries(CONDITIONS)) {
    const value = filter[field as keyof typeof CONDITIONS];
    if (value !== undefined) conditions.add(text, value);
  }
  for (const column of ['assignee', 'disposition'] as const) {
    const value = filter[column];
    if (value === null) conditions.addPlain(`${column} IS NULL`);
    else if (value !== undefined) conditions.add(`${column} = $::text`, value);
  }
  return conditions;
}

const SORT_KEYS: Readonly<Record<AlertOrder['by'], { readonly key: string; readonly place: string }>> = {
  detectedAt: { key: 'detected_at', place: 'to_timestamp($::float8 / 1000)' },
  score: { key: SCORE, place: '$::float8' },
  amountMinor: { key: AMOUNT, place: '$::bigint' },
};

function orderBy({ by, descending }: AlertOrder): string {
  const direction = descending ? 'DESC' : 'ASC';
  return `ORDER BY ${SORT_KEYS[by].key} ${direction}, alert_id ${direction}`;
}

/** Narrows to what lies behind a place in the order. */
function addPlace(conditions: Conditions, { by, descending }: AlertOrder, place: AlertPosition): void {
  const { key, place: form } = SORT_KEYS[by];
  const value = form.replace('$', conditions.value(place.value));
  const id = conditions.value(place.alertId);
  conditions.addPlain(`(${key}, alert_id) ${descending ? '<' : '>'} (${value}, ${id}::text)`);
}

/** The statement of a page, and its values. */
export function pageStatement(
  filter: AlertFilter,
  order: AlertOrder,
  limit: number,
  after: AlertPosition | null,
): { readonly text: string; readonly values: unknown[] } {
  const conditions = conditionsOf(filter);
  if (after !== null) addPlace(conditions, order, after);
  const text = `SELECT ${HEAD_COLUMNS} FROM alerts ${conditions.where()} ${orderBy(order)} LIMIT ${conditions.value(limit)}`;
  return { text, values: conditions.values };
}

/** Where an alert lies in an order. */
export function placeOf({ by }: AlertOrder, alert: AlertHead): AlertPosition {
  return { value: alert[by] ?? -1, alertId: alert.alertId };
}
