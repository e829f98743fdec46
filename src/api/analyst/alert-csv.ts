/** Owns alerts as CSV (RFC 4180): the columns, quoting, and defusing what a spreadsheet would run. Pure. */
import type { AlertHead } from '../../fraud/cases/stored-alert.js';

const iso = (ms: number) => new Date(ms).toISOString();

/** Numbers stay numbers; text is defused. */
const COLUMNS: Readonly<Record<string, (alert: AlertHead) => string | number | null>> = {
  alertId: ({ alertId }) => alertId,
  detectedAt: ({ detectedAt }) => iso(detectedAt),
  occurredAt: ({ occurredAt }) => iso(occurredAt),
  decision: ({ decision }) => decision,
  severity: ({ severity }) => severity,
  score: ({ score }) => score,
  ruleId: ({ rules }) => rules[0]?.id ?? null,
  reason: ({ rules }) => rules[0]?.reason ?? null,
  firedRules: ({ rules }) => rules.map(({ id }) => id).join(' '),
  cardId: ({ cardId }) => cardId,
  paymentId: ({ paymentId }) => paymentId,
  merchantId: ({ merchantId }) => merchantId,
  amountMinor: ({ amountMinor }) => amountMinor,
  currency: ({ currency }) => currency,
  state: ({ state }) => state,
  assignee: ({ assignee }) => assignee,
  disposition: ({ disposition }) => disposition,
  reasonCode: ({ reasonCode }) => reasonCode,
  revision: ({ revision }) => revision,
  storedAt: ({ storedAt }) => iso(storedAt),
};

export const CSV_HEADER = `${Object.keys(COLUMNS).join(',')}\r\n`;

export function csvRow(alert: AlertHead): string {
  return `${Object.values(COLUMNS)
    .map((of) => csvCell(of(alert)))
    .join(',')}\r\n`;
}

/**
 * Spreadsheets take a cell that begins so for a formula, the full-width signs too. An apostrophe in front makes it text.
 * Source: OWASP, "CSV Injection".
 */
const FORMULA = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/;

export function csvCell(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
