/**
 * Owns rules as data: their form, their validation with errors that say where and what to do, and their hashes.
 * Neighbours: `check-condition.ts` checks the condition's tree, `compile-rules.ts` makes a valid set runnable,
 * `built-in-rules.ts` is the set that ships.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { StreamError } from '../../stream/errors.js';
import { DECISIONS, SEVERITIES } from '../alerts/alert.js';
import { canonicalJson } from '../canonical-json.js';
import { checkCondition, type RuleProblem } from './check-condition.js';
import type { Condition } from './condition.js';
import { makeSignals, type Signals } from './signals.js';

/** What makes a rule look: a payment, or the end of a card-testing sequence that never saw its large payment. */
export const RULE_TRIGGERS = ['payment', 'card-testing-expired'] as const;
export type RuleTrigger = (typeof RULE_TRIGGERS)[number];

export interface Rule {
  /** Stable, kebab-case, unique in the set. Part of the ids of the alerts it decides (I6). */
  readonly id: string;
  readonly name: string;
  /** Raised by its author whenever the rule changes. */
  readonly version: number;
  readonly trigger: RuleTrigger;
  readonly condition: Condition;
  readonly decision: (typeof DECISIONS)[number];
  readonly severity: (typeof SEVERITIES)[number];
}

export interface RuleSet {
  readonly version: number;
  readonly rules: readonly Rule[];
}

export const RULE_LIMITS = { maxRules: 200, maxIdLength: 64, maxNameLength: 120 } as const;

/** A rule set that cannot be used. Lists every problem found, first to last. */
export class RuleSetInvalidError extends StreamError {
  constructor(readonly problems: readonly RuleProblem[]) {
    super(
      'rule-set-invalid',
      `The rule set has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n` +
        problems.map(({ path, message, hint }) => `  ${path}: ${message} (${hint})`).join('\n'),
    );
  }
}

const ruleSchema = z.strictObject({
  id: z
    .string()
    .max(RULE_LIMITS.maxIdLength)
    .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'must be words of a-z and 0-9 joined by hyphens, such as high-score'),
  name: z.string().min(1).max(RULE_LIMITS.maxNameLength),
  version: z.int().min(1),
  trigger: z.enum(RULE_TRIGGERS).default('payment'),
  condition: z.unknown().refine((condition) => condition !== undefined, 'is missing'),
  decision: z.enum(DECISIONS),
  severity: z.enum(SEVERITIES),
});

const ruleSetSchema = z.strictObject({
  version: z.int().min(1),
  rules: z.array(ruleSchema).min(1).max(RULE_LIMITS.maxRules),
});

/**
 * Validates a rule set from outside (a file, a topic, the admin API).
 * Errors: {@link RuleSetInvalidError} with all problems.
 */
export function parseRuleSet(input: unknown, signals: Signals = makeSignals()): RuleSet {
  const parsed = ruleSetSchema.safeParse(input);
  if (!parsed.success) throw new RuleSetInvalidError(parsed.error.issues.map(problemOf));
  const problems: RuleProblem[] = [];
  const seen = new Set<string>();
  const rules = parsed.data.rules.map((rule, index) => {
    const path = `rules[${index}]`;
    if (seen.has(rule.id)) {
      const message = `'${rule.id}' names another rule of the set too`;
      problems.push({ path: `${path}.id`, message, hint: 'give every rule an id of its own' });
    }
    seen.add(rule.id);
    const condition = checkCondition(rule.condition, `${path}.condition`, signals, problems);
    return { ...rule, condition };
  });
  if (problems.length > 0) throw new RuleSetInvalidError(problems);
  return { version: parsed.data.version, rules };
}

function problemOf(issue: z.core.$ZodIssue): RuleProblem {
  const path = issue.path.reduce<string>(
    (soFar, part) =>
      typeof part === 'number' ? `${soFar}[${part}]` : `${soFar}${soFar === '' ? '' : '.'}${String(part)}`,
    '',
  );
  return { path: path === '' ? 'rule set' : path, message: issue.message, hint: hintOf(issue) };
}

function hintOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_value':
      return `use one of ${issue.values.map(String).join(', ')}`;
    case 'unrecognized_keys':
      return `remove ${issue.keys.join(', ')}`;
    case 'too_big':
      return `at most ${issue.maximum}`;
    case 'too_small':
      return `at least ${issue.minimum}`;
    case 'invalid_type':
      return `write a value of type ${issue.expected}`;
    default:
      return 'compare it with a built-in rule';
  }
}

/** First 16 hex digits of the sha256 of a rule's or rule set's canonical JSON. */
export function ruleHash(data: Rule | RuleSet): string {
  return createHash('sha256').update(canonicalJson(data)).digest('hex').slice(0, 16);
}
