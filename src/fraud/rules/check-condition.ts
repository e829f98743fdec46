/**
 * Owns the checks of a condition that comes from outside: its form, its limits, and that signals, operators and values
 * fit each other. Neighbours: `rule-set.ts` calls it for every rule.
 */
import { COMPARISONS, type Comparison, type Condition } from './condition.js';
import type { Signals } from './signals.js';

/** One thing wrong with a rule set: where, what, and what to do about it. */
export interface RuleProblem {
  /** As `rules[2].condition.all[0].signal`. */
  readonly path: string;
  readonly message: string;
  readonly hint: string;
}

export const CONDITION_LIMITS = { maxDepth: 8, maxComparisons: 64 } as const;

const FORM_HINT = 'write {signal, op, value}, or {all: […]}, {any: […]}, {not: …}';

interface Walk {
  readonly signals: Signals;
  readonly problems: RuleProblem[];
  comparisons: number;
}

/** Returns the condition; what is wrong with it is added to `problems` (then the result must not be used). */
export function checkCondition(input: unknown, path: string, signals: Signals, problems: RuleProblem[]): Condition {
  const walk: Walk = { signals, problems, comparisons: 0 };
  const condition = check(input, path, 1, walk);
  if (walk.comparisons > CONDITION_LIMITS.maxComparisons) {
    const message = `has ${walk.comparisons} comparisons, more than ${CONDITION_LIMITS.maxComparisons}`;
    problems.push({ path, message, hint: 'split it into several rules' });
  }
  return condition;
}

const UNUSABLE: Condition = { all: [] };

function refuse(walk: Walk, path: string, message: string, hint: string): Condition {
  walk.problems.push({ path, message, hint });
  return UNUSABLE;
}

function check(input: unknown, path: string, depth: number, walk: Walk): Condition {
  if (depth > CONDITION_LIMITS.maxDepth) {
    return refuse(walk, path, `lies deeper than ${CONDITION_LIMITS.maxDepth} levels`, 'flatten the condition');
  }
  if (input === null || typeof input !== 'object' || Array.isArray(input)) {
    return refuse(walk, path, 'is no condition', FORM_HINT);
  }
  const node = input as Record<string, unknown>;
  const form = Object.keys(node).sort().join(' ');
  switch (form) {
    case 'all':
      return { all: checkParts(node.all, `${path}.all`, depth, walk) };
    case 'any':
      return { any: checkParts(node.any, `${path}.any`, depth, walk) };
    case 'not':
      return { not: check(node.not, `${path}.not`, depth + 1, walk) };
    case 'op signal value':
      return checkComparison(node, path, walk);
    default:
      return refuse(walk, path, form === '' ? 'is empty' : `has the fields ${form.replaceAll(' ', ', ')}`, FORM_HINT);
  }
}

function checkParts(input: unknown, path: string, depth: number, walk: Walk): Condition[] {
  if (!Array.isArray(input) || input.length === 0) {
    refuse(walk, path, 'is not a list of conditions', 'write at least one condition in [ ]');
    return [];
  }
  if (input.length > CONDITION_LIMITS.maxComparisons) {
    refuse(walk, path, `lists ${input.length} conditions`, `at most ${CONDITION_LIMITS.maxComparisons}`);
    return [];
  }
  return input.map((part, index) => check(part, `${path}[${index}]`, depth + 1, walk));
}

function checkComparison(node: Record<string, unknown>, path: string, walk: Walk): Condition {
  walk.comparisons++;
  const { signal: name, op, value } = node;
  if (typeof op !== 'string' || !COMPARISONS.includes(op as Comparison)) {
    return refuse(walk, `${path}.op`, `${JSON.stringify(op)} is no comparison`, `use one of ${COMPARISONS.join(' ')}`);
  }
  const signal = typeof name === 'string' ? walk.signals.get(name) : undefined;
  if (typeof name !== 'string' || signal === undefined) {
    return refuse(walk, `${path}.signal`, `no signal is called ${JSON.stringify(name)}`, nearest(name, walk.signals));
  }
  if (signal.unit === 'flag') {
    if (typeof value !== 'boolean') {
      return refuse(walk, `${path}.value`, `${name} is yes or no, not ${JSON.stringify(value)}`, 'write true or false');
    }
    if (op !== '==' && op !== '!=') {
      return refuse(walk, `${path}.op`, `${name} is yes or no and has no order`, 'use == or !=');
    }
  } else if (typeof value !== 'number' || !Number.isFinite(value)) {
    return refuse(walk, `${path}.value`, `${name} is a number, not ${JSON.stringify(value)}`, 'write a number');
  } else if (signal.unit === 'share' && (value < 0 || value > 1)) {
    return refuse(walk, `${path}.value`, `${name} lies between 0 and 1, never at ${value}`, 'write 0.9 for 90 %');
  }
  return { signal: name, op: op as Comparison, value };
}

function nearest(name: unknown, signals: Signals): string {
  const names = [...signals.keys()];
  const wanted = String(name).toLowerCase();
  const ranked = names
    .map((candidate) => ({ candidate, distance: editDistance(wanted, candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const [best] = ranked;
  if (best !== undefined && best.distance <= Math.max(2, wanted.length / 3)) return `did you mean ${best.candidate}?`;
  return `use one of ${names.slice(0, 20).join(', ')}`;
}

/** Levenshtein's distance, for texts of up to 64 characters; longer ones are cut. */
function editDistance(left: string, right: string): number {
  const a = left.slice(0, 64);
  const b = right.slice(0, 64);
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[j] + 1, current[j - 1] + 1));
    }
    previous = current;
  }
  return previous[b.length];
}
