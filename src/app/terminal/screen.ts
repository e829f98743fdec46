/**
 * Owns the live screen: figures and the newest alerts laid out for a given width and height. Pure: the same model gives
 * the same text. Neighbours: `meter.ts` makes the figures, `terminal.ts` draws the text.
 *
 * T1 No line is wider than the width, and there are never more lines than the height.
 * T2 Text from payments is cleaned before it is shown.
 */
import type picocolors from 'picocolors';
import type { Alert } from '../../fraud/alerts/alert.js';
import { formatMoney } from '../../fraud/alerts/money.js';
import type { TaskState } from '../../stream/runtime/status.js';
import type { Figures } from './meter.js';
import { cleanText, clip, shortCard, sparkline, writeCount, writeLatency, writeSize, writeSpan } from './text.js';

export interface ScreenModel {
  readonly figures: Figures;
  /** `http://127.0.0.1:3000`; null where this process serves none. */
  readonly apiAddress: string | null;
  readonly docsAddress: string | null;
  /** A line about what is going on, such as stopping; null for the usual hint. */
  readonly notice: string | null;
  /** Time of day as people here write it. */
  readonly timeOfDay: (ms: number) => string;
}

/** Colours switched on or off (`picocolors.createColors`). */
export type Palette = ReturnType<typeof picocolors.createColors>;

const CELL_WIDTH = 25;
const MOST_ALERTS = 8;

/** The screen as text without a final line break. */
export function renderScreen(model: ScreenModel, width: number, height: number, palette: Palette): string {
  const columns = Math.max(20, width);
  const rows = Math.max(4, height);
  const hint = model.notice ?? 'Ctrl-C stops and keeps everything';
  const head = [...title(model, columns, palette), '', ...figureRows(model.figures, columns, palette)];
  head.push(taskRow(model.figures, columns, palette), ...troubleRows(model.figures, columns, palette));
  const tail = ['', palette.dim(clip(` ${hint}`, columns))];
  const room = rows - head.length - tail.length;
  const body = room >= 3 ? ['', ...alertRows(model, columns, room - 1, palette)] : [];
  return [...head.slice(0, Math.max(1, rows - tail.length)), ...body, ...tail].slice(0, rows).join('\n');
}

function title(model: ScreenModel, width: number, palette: Palette): string[] {
  const { name, version, backend, uptimeMs } = model.figures;
  const lead = clip(` ${name} ${version}`, width);
  const rest = clip(`  ${backend} log  up ${writeSpan(uptimeMs)}`, width - lead.length);
  const lines = [palette.bold(lead) + palette.dim(rest)];
  const addresses = [
    ...(model.apiAddress === null ? [] : [`API ${model.apiAddress}`]),
    ...(model.docsAddress === null ? [] : [`docs ${model.docsAddress}`]),
  ];
  const joined = ` ${addresses.join('   ')}`;
  const fitting = joined.length <= width ? [joined] : addresses.map((address) => ` ${address}`);
  if (addresses.length > 0) lines.push(...fitting.map((line) => palette.cyan(clip(line, width))));
  return lines;
}

interface Cell {
  readonly label: string;
  readonly value: string;
  /** Shown dim after the value, in so many columns. */
  readonly note?: (columns: number) => string;
  readonly colour?: (text: string) => string;
}

/** As many cells beside each other as fit, values of a column under each other. */
function figureRows(figures: Figures, width: number, palette: Palette): string[] {
  const cells = figureCells(figures, palette);
  const perRow = Math.max(1, Math.min(3, Math.floor((width - 1) / CELL_WIDTH)));
  const cellWidth = Math.min(Math.floor((width - 1) / perRow), CELL_WIDTH + 10);
  const labelWidths = Array.from({ length: perRow }, (_, column) =>
    Math.max(...cells.filter((_cell, index) => index % perRow === column).map((cell) => cell.label.length)),
  );
  const drawn = cells.map((cell, index) => drawCell(cell, cellWidth, labelWidths[index % perRow], palette));
  const rows: string[] = [];
  for (let index = 0; index < drawn.length; index += perRow) {
    rows.push(` ${drawn.slice(index, index + perRow).join('')}`.trimEnd());
  }
  return rows;
}

function figureCells(figures: Figures, palette: Palette): Cell[] {
  const { epochLatencyMs: latency, checkpointAgeMs, projector } = figures;
  // More than five seconds' worth of payments waiting is worth a colour.
  const behind = figures.lag > Math.max(100, 5 * figures.paymentsPerSecond);
  return [
    {
      label: 'payments/s',
      value: writeCount(figures.paymentsPerSecond),
      note: (columns) => sparkline(figures.rateHistory, columns),
      colour: palette.green,
    },
    { label: 'payments', value: writeCount(figures.payments) },
    { label: 'lag', value: writeCount(figures.lag), ...(behind ? { colour: palette.yellow } : {}) },
    { label: 'alerts', value: writeCount(figures.alerts), colour: palette.red },
    { label: 'dead letters', value: writeCount(figures.deadLetters) },
    { label: 'late', value: writeCount(figures.late) },
    { label: 'epoch p50', value: writeLatency(latency?.p50 ?? null) },
    { label: 'epoch p99', value: writeLatency(latency?.p99 ?? null) },
    { label: 'checkpoint', value: checkpointAgeMs === null ? 'none yet' : `${writeSpan(checkpointAgeMs)} ago` },
    { label: 'memory', value: writeSize(figures.rssBytes) },
    ...(projector === null ? [] : [{ label: 'not in Postgres', value: writeCount(projector.lag) }]),
  ];
}

function drawCell(cell: Cell, width: number, labelWidth: number, palette: Palette): string {
  const label = clip(cell.label.padEnd(labelWidth), width - 2);
  const value = clip(cell.value, Math.max(1, width - label.length - 3));
  const used = label.length + 2 + value.length;
  const note = cell.note?.(Math.max(0, width - used - 3)) ?? '';
  const colour = cell.colour ?? palette.bold;
  const drawn = `${palette.dim(label)}  ${colour(value)}${note === '' ? '' : `  ${palette.dim(note)}`}`;
  const length = used + (note === '' ? 0 : 2 + note.length);
  return drawn + ' '.repeat(Math.max(1, width - length));
}

/** `tasks  3 running, 1 recovering`; single partitions are named where they are few. */
function taskRow(figures: Figures, width: number, palette: Palette): string {
  const { tasks } = figures;
  if (tasks.length === 0)
    return palette.dim(clip(` tasks  none of ${figures.sourcePartitions} partitions is ours`, width));
  const byState = new Map<TaskState, number[]>();
  for (const { state, partition } of tasks) byState.set(state, [...(byState.get(state) ?? []), partition]);
  const parts = [...byState].map(([state, partitions]) =>
    byState.size > 1 && partitions.length <= 4 ? `${state} ${partitions.join(' ')}` : `${partitions.length} ${state}`,
  );
  const text = clip(`tasks  ${parts.join(', ')}`, width - 1);
  const colour = worstColour([...byState.keys()], palette);
  return ` ${palette.dim(text.slice(0, 5))}${colour(text.slice(5))}`;
}

function worstColour(states: readonly TaskState[], palette: Palette): (text: string) => string {
  if (states.some((state) => state === 'failed' || state === 'fenced')) return palette.red;
  return states.every((state) => state === 'running') ? palette.green : palette.yellow;
}

function troubleRows(figures: Figures, width: number, palette: Palette): string[] {
  const rows = figures.tasks
    .filter((task) => task.error !== null)
    .slice(0, 2)
    .map((task) => ` task ${task.partition}: ${cleanText(task.error ?? '')}`);
  if (figures.projector?.trouble) rows.push(` projector: ${cleanText(figures.projector.trouble)}`);
  return rows.map((row) => palette.red(clip(row, width)));
}

/** Two lines an alert where there is room for some, else one. */
function alertRows(model: ScreenModel, width: number, room: number, palette: Palette): string[] {
  const alerts = model.figures.recentAlerts.slice(0, MOST_ALERTS);
  if (alerts.length === 0) return [palette.dim(clip(' No alerts yet', width))];
  const linesEach = room - 1 >= 4 ? 2 : 1;
  const shown = alerts.slice(0, Math.max(1, Math.floor((room - 1) / linesEach)));
  const rows = [palette.bold(clip(' Newest alerts', width))];
  for (const alert of shown) {
    const [headline, reason] = alertText(alert, model.timeOfDay);
    const decision = alert.decision.toUpperCase();
    const colour = alert.decision === 'decline' ? palette.red : palette.yellow;
    const line = clip(headline, width);
    const at = line.indexOf(decision);
    rows.push(
      at === -1 ? line : line.slice(0, at) + colour(decision) + line.slice(at + decision.length),
      ...(linesEach === 2 ? [palette.dim(clip(reason, width))] : []),
    );
  }
  return rows;
}

/** Headline and reason, both clean and uncoloured (T2). */
export function alertText(
  alert: Alert,
  timeOfDay: (ms: number) => string,
): readonly [headline: string, reason: string] {
  const amount = alert.amountMinor === null ? '' : formatMoney(alert.amountMinor, alert.currency ?? '').trim();
  const parts = [
    timeOfDay(alert.detectedAt),
    alert.decision.toUpperCase().padEnd(7),
    amount.padStart(12),
    ` card ${shortCard(alert.cardId)}`,
    alert.merchantId === null ? '' : ` at ${cleanText(alert.merchantId)}`,
    alert.score === null ? '' : ` score ${alert.score.toFixed(2)}`,
  ];
  const reasons = alert.rules.map((rule) => cleanText(rule.reason));
  return [` ${parts.filter((part) => part !== '').join(' ')}`, `          ${reasons.join('; ')}`];
}
