/** Owns how the recovery proof tells what it measured. Neighbour: `recovery.ts`. */
import { quantile } from '../../../bench/process-figures.js';
import type { Back } from './recovery.js';
import { aligned } from './report.js';

/** What is promised, ms, from the moment told to the last partition's commit. Null: nothing. */
const TARGETS = {
  restart: { ms: 2_000, from: 'start of the process' },
  'empty disk': { ms: null, from: 'start of the process' },
  'take-over': { ms: 10_000, from: 'kill' },
  'warm take-over': { ms: 3_000, from: 'kill' },
} as const;
type Measured = keyof typeof TARGETS;

export interface RecoveryReport {
  readonly seed: number;
  readonly cards: number;
  readonly load: number;
  readonly measured: Readonly<Record<Measured, readonly Back[]>>;
  readonly problems: readonly string[];
}

export function tellRecovery({ seed, cards, load, measured, problems }: RecoveryReport): string {
  const header = ['after', 'times', 'first p50', 'first max', 'all p50', 'all max', 'target', '', 'counted from'];
  const names = Object.keys(TARGETS) as Measured[];
  const rows = names.map((name) => {
    const { ms, from } = TARGETS[name];
    const [first, all] = [measured[name].map(({ firstMs }) => firstMs), measured[name].map(({ allMs }) => allMs)];
    const times = [at(first, 0.5), at(first, 1), at(all, 0.5), at(all, 1)];
    const isMet = ms === null || all.length === 0 ? '' : Math.max(...all) <= ms ? 'met' : 'missed';
    return [name, String(all.length), ...times, ms === null ? '-' : String(ms), isMet, from];
  });
  const lines = aligned([header, ...rows]);
  return ['', ...lines, '', `${cards} cards, seed ${seed}, load average ${load.toFixed(1)}; ms`, ...problems].join(
    '\n',
  );
}

function at(values: readonly number[], share: number): string {
  if (values.length === 0) return '-';
  return String(
    Math.round(
      quantile(
        [...values].sort((a, b) => a - b),
        share,
      ),
    ),
  );
}
