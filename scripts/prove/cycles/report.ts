/** Owns how a proof by cycles tells what it found. Neighbours: `proof.ts` prints it, `../main.ts` writes it as JSON. */
import { quantile } from '../../../bench/process-figures.js';
import type { CycleResult } from './cycle.js';
import type { CyclesVerdict } from './verdict.js';

export interface CyclesReport extends CyclesVerdict {
  readonly seed: number;
  readonly cycles: readonly CycleResult[];
  /** Nemeses that were asked for and cannot strike here. */
  readonly skipped: readonly { readonly nemesis: string; readonly why: string }[];
  /** From the first start to the last cycle's end. */
  readonly seconds: number;
  readonly load: number;
}

/** A line on one cycle. */
export function tellCycle(cycle: CycleResult, of: number): string {
  const { number, nemesis, what, from, firstMs, allMs, takeoverMs, atOnce, ownEnds } = cycle;
  const takeover = takeoverMs === null ? '' : `, taken over in ${Math.round(takeoverMs)} ms`;
  const ended = ownEnds.map(({ service, code, signal, lastLine }) => {
    return `\n    ${service} ended by itself (${signal ?? `code ${code}`}): ${lastLine}`;
  });
  const back = `back in ${Math.round(firstMs)} to ${Math.round(allMs)} ms from the ${from}`;
  return `${String(number).padStart(String(of).length)}/${of}  ${nemesis}${atOnce ? ' at once' : ''}: ${what}${takeover}; ${back}${ended.join('')}`;
}

/** The table by nemesis, and the sums. */
export function tellReport(report: CyclesReport): string {
  const byNemesis = Map.groupBy(report.cycles, ({ nemesis, from }) => `${nemesis}\t${from}`);
  const header = ['nemesis', 'cycles', 'p50 ms', 'max ms', 'takeover p50', 'takeover max', 'counted from'];
  const rows = [...byNemesis]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, cycles]) => {
      const [nemesis = '', from = ''] = key.split('\t');
      const takeovers = cycles.flatMap(({ takeoverMs }) => (takeoverMs === null ? [] : [takeoverMs]));
      const all = cycles.map(({ allMs }) => allMs);
      const times = [at(all, 0.5), at(all, 1), at(takeovers, 0.5), at(takeovers, 1)];
      return [nemesis, String(cycles.length), ...times, from];
    });
  return ['', ...aligned([header, ...rows]), '', ...sums(report)].join('\n');
}

function sums(report: CyclesReport): readonly string[] {
  const { messages, payments, deadLetters, alerts, distinctAlerts, expectedAlerts, independent, rows } = report;
  const { lost, doubled, foreign, altered, badRows, cardsWrong, deadLettersWrong, problems, seed } = report;
  const ended = report.cycles.reduce((total, { ownEnds }) => total + ownEnds.length, 0);
  const kcat = independent === null ? 'kcat is not here' : `kcat ${independent.distinct}/${independent.alerts}`;
  return [
    `${report.cycles.length} cycles in ${Math.round(report.seconds)} s, load average ${report.load.toFixed(1)}; ` +
      `services ended by themselves ${ended} times; stop by SIGTERM ${report.stopMs} ms`,
    `${messages} messages: ${payments} payments (${report.late} late), ${deadLetters} dead letters; ` +
      `${report.epochs} epochs; ${expectedAlerts} alerts expected (${report.timerAlerts} by timers), ` +
      `${distinctAlerts}/${alerts} distinct/all found, ${kcat}, rows ${rows ?? 'none looked at'}`,
    `lost ${lost}, doubled ${doubled}, foreign ${foreign}, altered ${altered}, bad rows ${badRows}, ` +
      `bad cards ${cardsWrong}, bad letters ${deadLettersWrong}`,
    ...problems.map((problem) => `  ${problem}`),
    `seed ${seed}: ${problems.length === 0 ? 'right' : 'WRONG'}`,
  ];
}

function at(values: readonly number[], share: number): string {
  if (values.length === 0) return '-';
  const sorted = [...values].sort((a, b) => a - b);
  return String(Math.round(quantile(sorted, share)));
}

/** Cells under each other; the first column and the last to the left. */
export function aligned(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 || column === row.length - 1 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]),
      )
      .join('  ')
      .trimEnd(),
  );
}
