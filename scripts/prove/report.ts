/** Owns how a proof tells what it found: lines while it runs, the table at its end. Neighbours: `main.ts` prints. */
import type { LoadedInput } from './load.js';
import type { Reference } from './reference.js';
import type { RunResult } from './runs.js';

const COLUMNS: readonly (readonly [title: string, value: (run: RunResult) => string])[] = [
  ['run', ({ name }) => name],
  ['messages', ({ messages }) => String(messages)],
  ['processed', ({ processed }) => String(processed)],
  ['dead letters', ({ deadLetters }) => String(deadLetters)],
  ['alerts', ({ alerts }) => String(alerts)],
  ['distinct', ({ distinctAlerts }) => String(distinctAlerts)],
  ['lost', ({ lost }) => String(lost)],
  ['doubled', ({ doubled }) => String(doubled)],
  ['foreign', ({ foreign }) => String(foreign)],
  ['altered', ({ altered }) => String(altered)],
  ['bad letters', ({ deadLettersWrong }) => String(deadLettersWrong)],
  ['bad cards', ({ cardsWrong }) => String(cardsWrong)],
  ['kcat', ({ independent }) => (independent === null ? 'not here' : `${independent.distinct}/${independent.alerts}`)],
  ['epochs', ({ epochs }) => String(epochs)],
  ['messages/s', ({ messagesPerSecond }) => String(messagesPerSecond)],
  ['back after ms', ({ backAfterMs }) => backAfterMs.join(' ') || '-'],
  ['stop ms', ({ stopMs }) => stopMs.join(' ')],
  ['', ({ problems }) => (problems.length === 0 ? 'right' : 'WRONG')],
];

/** The runs as a table, a line each. */
export function table(runs: readonly RunResult[]): string {
  const rows = [COLUMNS.map(([title]) => title), ...runs.map((run) => COLUMNS.map(([, value]) => value(run)))];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}

/** What lies in an input topic. */
export function tellInput({ messages, malformed, poison, abortedTransactions, offsets }: LoadedInput): string {
  const shares = offsets.map(({ length }) => length).join(' + ');
  const upstream =
    abortedTransactions === 0
      ? ''
      : `, among ${abortedTransactions} aborted Kafka transactions with ${poison} payments that must not be seen`;
  return `${messages} messages (${shares}), ${malformed} of them malformed${upstream}`;
}

/** What the reference came to. */
export function tellReference({ payments, alerts, deadLetters, late, timerAlerts, cards }: Reference): string {
  const remembered = cards.reduce((total, { size }) => total + size, 0);
  const rules = counted([...alerts.values()].map(({ rule }) => rule));
  return (
    `${payments} payments of ${remembered} cards (${late} late), ${alerts.size} alerts (${rules}; ${timerAlerts} by timers), ` +
    `${deadLetters.length} dead letters (${counted(deadLetters.map(({ code }) => code))})`
  );
}

function counted(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
