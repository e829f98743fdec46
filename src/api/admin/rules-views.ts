/**
 * Owns the forms of rules over HTTP: what may be sent, and what is answered. Neighbours: `rules.controller.ts`,
 * `rules-trial.controller.ts`; what a condition means is checked by the domain, which tells line and column.
 */
import { z } from 'zod';
import { DECISIONS, SEVERITIES } from '../../fraud/alerts/alert.js';
import { CHANNELS } from '../../fraud/payments/payment.js';
import { RULE_LIMITS } from '../../fraud/rules/check-rule.js';
import { CONDITION_LIMITS } from '../../fraud/rules/language.js';
import { RULE_TRIGGERS } from '../../fraud/rules/rule.js';
import { RuleNotFoundError } from '../../fraud/rules/rule-book-errors.js';
import { type DoneBy, RULE_STATES } from '../../fraud/rules/rule-book-lifecycle.js';
import type { RuleDetail, StoredVersion } from '../../fraud/rules/rule-book-store.js';
import { pageOf, pageShape, placeIn } from '../paging.js';
import { line, lines } from '../validation.js';

export const RULE_ID = /^[a-z0-9]+(-[a-z0-9]+)*$/;
export const VERSION = /^[1-9][0-9]{0,8}$/;
const MAX_VERSION = 999_999_999;

const list = <T extends z.ZodType<string>>(item: T) =>
  z.exactOptional(z.array(item).min(1).max(RULE_LIMITS.maxScopeItems));

const condition = lines(CONDITION_LIMITS.maxLength).meta({
  description: 'CEL over the payment, enrichment, features, patterns and score; true fires the rule',
});
const scopeSchema = z.strictObject({
  countries: list(z.string().regex(/^[A-Z]{2}$/, 'must be two capitals (ISO 3166-1)')),
  currencies: list(z.string().regex(/^[A-Z]{3}$/, 'must be three capitals (ISO 4217)')),
  channels: list(z.enum(CHANNELS)),
  mccs: list(z.string().regex(/^[0-9]{4}$/, 'must be four digits (ISO 18245)')),
  merchantIds: list(line(RULE_LIMITS.maxMerchantIdBytes)),
});
const contentFields = {
  name: line(RULE_LIMITS.maxNameLength),
  description: z.exactOptional(lines(RULE_LIMITS.maxDescriptionLength)),
  trigger: z
    .exactOptional(z.enum(RULE_TRIGGERS))
    .meta({ description: 'What makes the rule look; `payment` where left out' }),
  condition,
  decision: z.enum(DECISIONS),
  severity: z.enum(SEVERITIES),
  scope: z
    .exactOptional(scopeSchema)
    .meta({ description: 'Payments that the rule looks at; every one where left out' }),
};

export const ruleContentSchema = z.strictObject(contentFields).meta({ id: 'RuleContent' });
export const newRuleSchema = z
  .strictObject({
    id: z
      .string()
      .max(RULE_LIMITS.maxIdLength)
      .regex(RULE_ID, 'must be words of a-z and 0-9 joined by hyphens, such as high-score')
      .meta({ description: 'Never changes; part of the ids of the alerts that the rule decides' }),
    ...contentFields,
  })
  .meta({ id: 'NewRule' });
export type NewRule = z.infer<typeof newRuleSchema>;

export const bringLiveSchema = z.strictObject({
  version: z
    .int()
    .min(1)
    .max(MAX_VERSION)
    .meta({ description: 'Any version of the rule; an older one goes back to it' }),
});
export type BringLive = z.infer<typeof bringLiveSchema>;

export const pauseSchema = z.strictObject({
  reason: line(500).meta({ description: 'For the audit trail, and whoever wonders' }),
});
export type PauseBody = z.infer<typeof pauseSchema>;

export const rulesQuerySchema = z.strictObject({ state: z.exactOptional(z.enum(RULE_STATES)), ...pageShape() });
export type RulesQuery = z.infer<typeof rulesQuerySchema>;

export const doneBySchema = z.object({ id: z.string(), name: z.string() });
/** Who it was, and not who is behind them. */
export const viewDoneBy = ({ id, name }: DoneBy): DoneBy => ({ id, name });
export const timeSchema = z.int().meta({ description: 'ms since 1970' });
export const hashSchema = z.string().meta({ description: 'First 16 hex digits of the sha256 over the content' });

const answeredContent = {
  name: z.string(),
  description: z.string(),
  trigger: z.enum(RULE_TRIGGERS),
  condition: z.string(),
  decision: z.enum(DECISIONS),
  severity: z.enum(SEVERITIES),
  scope: z.object({
    countries: z.exactOptional(z.array(z.string())),
    currencies: z.exactOptional(z.array(z.string())),
    channels: z.exactOptional(z.array(z.enum(CHANNELS))),
    mccs: z.exactOptional(z.array(z.string())),
    merchantIds: z.exactOptional(z.array(z.string())),
  }),
};

type AnsweredContent = z.infer<z.ZodObject<typeof answeredContent>>;

export const ruleVersionSchema = z
  .object({
    id: z.string(),
    version: z.int(),
    hash: hashSchema,
    author: doneBySchema,
    createdAt: timeSchema,
    ...answeredContent,
  })
  .meta({ id: 'RuleVersion', description: 'A version of a rule; it never changes' });
type RuleVersionView = z.infer<typeof ruleVersionSchema>;

/** A rule as a rule set holds it. */
export const runningRuleSchema = z
  .object({
    id: z.string(),
    version: z.int(),
    ...answeredContent,
    state: z.enum(['active', 'shadow']),
    liveSince: z
      .int()
      .optional()
      .meta({ description: 'The rule set in which this version was last brought live; its breakers begin anew there' }),
  })
  .meta({ id: 'RunningRule', description: 'A rule as tasks run it' });

export const ruleSchema = z
  .object({
    id: z.string(),
    revision: z.int().meta({ description: 'Rises with every change; the ETag' }),
    state: z.enum(RULE_STATES),
    pause: z.object({ by: doneBySchema, at: timeSchema, reason: z.string() }).nullable(),
    live: ruleVersionSchema
      .nullable()
      .meta({ description: 'What runs, or ran until the pause; null where none ever did' }),
    newest: ruleVersionSchema,
    createdAt: timeSchema,
    changedAt: timeSchema,
  })
  .meta({ id: 'Rule', description: 'A rule with the version that runs and the newest one' });
export type RuleView = z.infer<typeof ruleSchema>;

export const rulePageSchema = pageOf(ruleSchema).meta({
  id: 'RulePage',
  description: 'Rules in the order of their ids',
});
export const ruleVersionPageSchema = pageOf(ruleVersionSchema).meta({
  id: 'RuleVersionPage',
  description: "A rule's versions, newest first",
});

/** What can't be an id is not looked for: the database refuses some texts. Errors: `rule-not-found`. */
export function checkedRuleId(id: string): string {
  if (RULE_ID.test(id) && id.length <= RULE_LIMITS.maxIdLength) return id;
  throw new RuleNotFoundError(id);
}

export function viewVersion({ rule, hash, author, createdAt }: StoredVersion): RuleVersionView {
  const { id, version, ...content } = rule;
  // Through JSON, as it is kept: lists that a scope leaves out are not there at all.
  return { id, version, hash, author: viewDoneBy(author), createdAt, ...(content as AnsweredContent) };
}

export function viewRule({ entry, live, newest }: RuleDetail): RuleView {
  const { id, revision, state, pause, createdAt, changedAt } = entry;
  return {
    id,
    revision,
    state,
    pause,
    live: live === null ? null : viewVersion(live),
    newest: viewVersion(newest),
    createdAt,
    changedAt,
  };
}

/** The version in the cursor of a list that goes by versions, or null. Errors: `cursor-invalid`. */
export function versionIn(cursor: string | undefined): number | null {
  const place = placeIn(cursor, (text) => VERSION.test(text));
  return place === null ? null : Number(place);
}
