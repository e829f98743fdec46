/**
 * Owns how wrong configuration is reported: all of it at once, each with its source, path, value and what is allowed.
 * Neighbours: `sources.ts` and `load.ts` collect, `src/main.ts` prints and exits with {@link ConfigurationError.exitCode}.
 */
import { StreamError } from '../../stream/errors.js';

/** One thing that is wrong. */
export interface ConfigurationProblem {
  /** Where the value came from: `flag --port`, `variable PORT`, `file fraud.config.json`, `default`. */
  readonly source: string;
  /** `http.port`; null where no setting is meant. */
  readonly path: string | null;
  /** As given, secrets hidden; null where there is none. */
  readonly value: string | null;
  /** What is wrong and what to do, one or two sentences. */
  readonly message: string;
}

/** The configuration cannot be used. Nothing has been started. */
export class ConfigurationError extends StreamError {
  readonly exitCode = 2;
  constructor(readonly problems: readonly ConfigurationProblem[]) {
    super('configuration-invalid', formatProblems(problems));
  }
}

function formatProblems(problems: readonly ConfigurationProblem[]): string {
  const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
  const lines = problems.map(({ source, path, value, message }) => {
    const what = [path, value].filter((part) => part !== null).join(' = ');
    return `  ${source}${what === '' ? '' : `: ${what}`}\n      ${message}`;
  });
  return `The configuration has ${count}:\n${lines.join('\n')}\nAll settings: --help, or docs/CONFIGURATION.md.`;
}

/** `Did you mean x?` for the closest of `names`, or an empty text where none is close. */
export function didYouMean(wrong: string, names: readonly string[]): string {
  const nearest = nearestName(wrong, names);
  return nearest === null ? '' : ` Did you mean ${nearest}?`;
}

function nearestName(wrong: string, names: readonly string[]): string | null {
  const target = wrong.toLowerCase();
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(target.length / 3)) + 1;
  for (const name of names) {
    const distance = editDistance(target, name.toLowerCase());
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** Letters to insert, delete, replace or swap with their neighbour (optimal string alignment). */
export function editDistance(left: string, right: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i++) {
    const row = [i];
    for (let j = 1; j <= right.length; j++) {
      const same = left[i - 1] === right[j - 1];
      let cost = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1];
      if (swapped) cost = Math.min(cost, beforeLast[j - 2] + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[right.length];
}
