/**
 * Owns rule sets as data: what comes off the rules topic or from a file, validated with errors that say where and what
 * to do, and the hashes of rules and sets. Neighbours: `check-rule.ts` checks each rule, `compile-rules.ts` makes a valid
 * set runnable, `built-in-rules.ts` is the set that ships.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.js';
import { DEFAULT_PATTERN_PARAMETERS, patternParametersSchema } from '../patterns/pattern-parameters.js';
import { checkMeaning, problemOf, RULE_LIMITS, ruleContentFields } from './check-rule.js';
import { RUNNING_STATES, type Rule, type RuleSet, type RuleVersion } from './rule.js';
import { type RuleProblem, RuleSetInvalidError } from './rule-problems.js';

export const RULE_SET_LIMITS = { maxRules: 200 } as const;

const ruleSchema = z.strictObject({
  id: z
    .string()
    .max(RULE_LIMITS.maxIdLength)
    .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'must be words of a-z and 0-9 joined by hyphens, such as high-score'),
  version: z.int().min(1),
  ...ruleContentFields,
  state: z.enum(RUNNING_STATES).default('active'),
  liveSince: z.int().min(1).exactOptional(),
});

const ruleSetSchema = z.strictObject({
  version: z.int().min(1),
  rules: z.array(ruleSchema).max(RULE_SET_LIMITS.maxRules),
  patterns: patternParametersSchema.default(DEFAULT_PATTERN_PARAMETERS),
});

/**
 * Validates a rule set from outside and puts its rules in the order of their ids. Left out: `state` is active, `patterns`
 * and their parameters are the defaults, the rest as in {@link checkRuleContent}.
 * Errors: {@link RuleSetInvalidError} with all problems.
 */
export function parseRuleSet(input: unknown): RuleSet {
  const parsed = ruleSetSchema.safeParse(input);
  if (!parsed.success) throw new RuleSetInvalidError(parsed.error.issues.map((issue) => problemOf(issue, 'rule set')));
  const problems: RuleProblem[] = [];
  const seen = new Set<string>();
  parsed.data.rules.forEach((rule, index) => {
    const path = `rules[${index}]`;
    if (seen.has(rule.id)) {
      const message = `'${rule.id}' names another rule of the set too`;
      problems.push({ path: `${path}.id`, message, hint: 'give every rule an id of its own' });
    }
    seen.add(rule.id);
    for (const problem of checkMeaning(rule)) problems.push({ ...problem, path: `${path}.${problem.path}` });
  });
  if (problems.length > 0) throw new RuleSetInvalidError(problems);
  const rules: Rule[] = parsed.data.rules.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return { version: parsed.data.version, rules, patterns: parsed.data.patterns };
}

/** First 16 hex digits of the sha256 over a rule version's canonical JSON, id and version included, its state not. */
export function ruleHash(rule: RuleVersion): string {
  const { id, version, name, description, trigger, condition, decision, severity, scope } = rule;
  return hashOf({ id, version, name, description, trigger, condition, decision, severity, scope });
}

/** The same over a whole set: its version, its rules with their states (not since when), its pattern parameters. */
export function ruleSetHash({ version, rules, patterns }: RuleSet): string {
  return hashOf({ version, rules: rules.map(({ liveSince: _, ...rule }) => rule), patterns });
}

function hashOf(data: unknown): string {
  return createHash('sha256').update(canonicalJson(data)).digest('hex').slice(0, 16);
}
