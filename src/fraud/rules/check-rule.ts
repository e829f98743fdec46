/**
 * Owns the checks of one rule's content that comes from outside: its form, its limits, its condition and its scope.
 * Neighbours: `check-condition.ts` checks the condition, `rule-set.ts` whole sets, `rule-book.ts` what authors send.
 */
import { z } from 'zod';
import { DECISIONS, SEVERITIES } from '../alerts/alert.js';
import { CHANNELS } from '../payments/payment.js';
import { checkCondition } from './check-condition.js';
import { RULE_TRIGGERS, type RuleContent } from './rule.js';
import { RuleInvalidError, type RuleNote, type RuleProblem } from './rule-problems.js';

export const RULE_LIMITS = {
  maxIdLength: 64,
  maxNameLength: 120,
  maxDescriptionLength: 2_000,
  /** Of each list of a scope. */
  maxScopeItems: 250,
  maxMerchantIdBytes: 64,
} as const;

const cleanText = (maxLength: number) =>
  z.string().max(maxLength).refine(isClean, 'holds a control character or half a surrogate pair');

const scopeList = <T extends z.ZodType<string>>(item: T) =>
  z.array(item).min(1).max(RULE_LIMITS.maxScopeItems).refine(isWithoutRepeats, 'names the same twice').exactOptional();

const scopeSchema = z.strictObject({
  countries: scopeList(z.string().regex(/^[A-Z]{2}$/, 'must be two capitals, as DE')),
  currencies: scopeList(z.string().regex(/^[A-Z]{3}$/, 'must be three capitals, as EUR')),
  channels: scopeList(z.enum(CHANNELS)),
  mccs: scopeList(z.string().regex(/^[0-9]{4}$/, 'must be four digits, as 5967')),
  merchantIds: scopeList(
    cleanText(RULE_LIMITS.maxMerchantIdBytes)
      .min(1)
      .refine((id) => Buffer.byteLength(id) <= RULE_LIMITS.maxMerchantIdBytes, 'has over 64 bytes'),
  ),
});

/** The fields that a rule has wherever it comes from. Conditions are looked into by {@link checkMeaning}. */
export const ruleContentFields = {
  name: cleanText(RULE_LIMITS.maxNameLength).min(1),
  description: z
    .string()
    .max(RULE_LIMITS.maxDescriptionLength)
    .refine((text) => isClean(text.replaceAll(/[\n\t]/g, ' ')), 'holds a control character or half a surrogate pair')
    .default(''),
  trigger: z.enum(RULE_TRIGGERS).default('payment'),
  condition: z.string(),
  decision: z.enum(DECISIONS),
  severity: z.enum(SEVERITIES),
  scope: scopeSchema.default({}),
};

const ruleContentSchema = z.strictObject(ruleContentFields);

/**
 * Checks what an author sends for a rule; fields left out get their defaults.
 * Errors: {@link RuleInvalidError} with all problems.
 */
export function checkRuleContent(input: unknown): RuleContent {
  const parsed = ruleContentSchema.safeParse(input);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => problemOf(issue, 'rule'));
    throw new RuleInvalidError([...problems, ...conditionOf(input)]);
  }
  const problems = checkMeaning(parsed.data);
  if (problems.length > 0) throw new RuleInvalidError(problems);
  return parsed.data;
}

/** What is wrong with a content of the right form: its condition, and a scope where there is no payment to be in it. */
export function checkMeaning({ condition, trigger, scope }: Pick<RuleContent, 'condition' | 'trigger' | 'scope'>) {
  const problems: RuleProblem[] = [...checkCondition(condition, trigger).problems];
  if (trigger !== 'payment' && Object.values(scope).some((list) => list !== undefined)) {
    const message = `a rule on ${trigger} has no payment that could be in a scope`;
    problems.push({ path: 'scope', message, hint: 'leave the scope empty' });
  }
  return problems;
}

/** What an author should know of a content that is, or would be, accepted. */
export function notesOn({ decision }: Readonly<Record<string, unknown>>): readonly RuleNote[] {
  if (decision !== 'approve') return [];
  return [
    {
      path: 'decision',
      message: 'never changes a decision: the strictest one wins, and what no rule speaks about is approved anyway',
      hint: 'to let payments through, narrow the condition or scope of the rules that review or decline them',
    },
  ];
}

/** The condition's problems even where other fields are wrong: authors get all of them at once. */
function conditionOf(input: unknown): readonly RuleProblem[] {
  if (typeof input !== 'object' || input === null) return [];
  const { condition, trigger } = input as { condition?: unknown; trigger?: unknown };
  if (typeof condition !== 'string') return [];
  const known = RULE_TRIGGERS.find((name) => name === trigger);
  if (known === undefined && trigger !== undefined) return [];
  return checkCondition(condition, known ?? 'payment').problems;
}

/** One of zod's issues as a problem; `whole` names what an issue without a path is about. */
export function problemOf(issue: z.core.$ZodIssue, whole: string): RuleProblem {
  const path = issue.path.reduce<string>(
    (soFar, part) =>
      typeof part === 'number' ? `${soFar}[${part}]` : `${soFar}${soFar === '' ? '' : '.'}${String(part)}`,
    '',
  );
  return { path: path === '' ? whole : path, message: issue.message, hint: hintOf(issue) };
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

function isWithoutRepeats(list: readonly string[]): boolean {
  return new Set(list).size === list.length;
}

/** Control characters and half surrogate pairs are refused by databases and garble terminals. */
function isClean(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit === 0x7f) return false;
  }
  return text.isWellFormed();
}
