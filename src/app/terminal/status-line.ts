/**
 * Owns the status as one line, for output that is no terminal: `key=value` pairs that read well and that log shippers
 * take apart. Pure. Neighbours: `meter.ts` makes the figures, `terminal.ts` writes the line.
 */
import type { Alert } from '../../fraud/alerts/alert.js';
import { formatMoney } from '../../fraud/alerts/money.js';
import type { Figures } from './meter.js';
import { cleanText, shortCard } from './text.js';

const rounded = (value: number): number => (value < 10 ? Math.round(value * 10) / 10 : Math.round(value));

/** `status payments/s=203 payments=26402 …`, without a line break. */
export function statusLine(figures: Figures): string {
  const { epochLatencyMs: latency, checkpointAgeMs, tasks } = figures;
  const running = tasks.filter((task) => task.state === 'running').length;
  const fields: readonly (readonly [string, string | number])[] = [
    ['payments/s', rounded(figures.paymentsPerSecond)],
    ['payments', figures.payments],
    ['alerts', figures.alerts],
    ['dead-letters', figures.deadLetters],
    ['late', figures.late],
    ['lag', figures.lag],
    ...(latency === null
      ? []
      : ([
          ['epoch-p50-ms', rounded(latency.p50)],
          ['epoch-p99-ms', rounded(latency.p99)],
        ] as const)),
    ['checkpoint-age-s', checkpointAgeMs === null ? 'none' : Math.round(checkpointAgeMs / 1_000)],
    ['rss-mib', Math.round(figures.rssBytes / 1_048_576)],
    ['tasks', `${running}/${tasks.length}`],
    ...(figures.projector === null ? [] : ([['projector-lag', figures.projector.lag]] as const)),
  ];
  return `status ${fields.map(([name, value]) => `${name}=${value}`).join(' ')}`;
}

const quoted = (text: string): string => JSON.stringify(cleanText(text));

/** `alert decision=decline amount="450.00 EUR" …`, without a line break. */
export function alertLine(alert: Alert): string {
  const fields = [
    `decision=${alert.decision}`,
    ...(alert.amountMinor === null ? [] : [`amount=${quoted(formatMoney(alert.amountMinor, alert.currency ?? ''))}`]),
    `card=${shortCard(alert.cardId)}`,
    ...(alert.merchantId === null ? [] : [`merchant=${quoted(alert.merchantId)}`]),
    ...(alert.score === null ? [] : [`score=${alert.score.toFixed(2)}`]),
    `reason=${quoted(alert.rules.map((rule) => rule.reason).join('; '))}`,
  ];
  return `alert ${fields.join(' ')}`;
}
