/**
 * Owns how it is told what is wrong with a rule from outside: every problem at once, each with its place, what is wrong
 * and what to do. Neighbours: `check-rule.ts` and `check-condition.ts` find the problems, the API shows them.
 */
import { StreamError } from '../../stream/errors.js';

export interface RuleProblem {
  /** As `condition`, `scope.countries[0]` or, in a rule set, `rules[2].condition`. */
  readonly path: string;
  /** Where in the condition's text, both from 1 on; for problems of conditions alone. Columns count UTF-16 units. */
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
  readonly hint: string;
}

/** What is allowed, and hardly what its author meant. */
export type RuleNote = Pick<RuleProblem, 'path' | 'message' | 'hint'>;

/** A rule that cannot be used. Lists every problem found. */
export class RuleInvalidError extends StreamError {
  constructor(readonly problems: readonly RuleProblem[]) {
    super('rule-invalid', `The rule has ${listed(problems)}`);
  }
}

/** A rule set that cannot be used. Lists every problem found, first to last. */
export class RuleSetInvalidError extends StreamError {
  constructor(readonly problems: readonly RuleProblem[]) {
    super('rule-set-invalid', `The rule set has ${listed(problems)}`);
  }
}

/** On one line, as `condition, line 1, column 8: payment has no field 'foo' (did you mean …)`. */
export function problemInWords({ path, line, column, message, hint }: RuleProblem): string {
  const place = line === undefined || column === undefined ? path : `${path}, line ${line}, column ${column}`;
  return `${place}: ${message} (${hint})`;
}

function listed(problems: readonly RuleProblem[]): string {
  const lines = problems.map((problem) => `  ${problemInWords(problem)}`);
  return `${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${lines.join('\n')}`;
}
