/** Owns the forms of checking and trying out rules over HTTP. Neighbour: `rules-trial.controller.ts`. */
import { z } from 'zod';
import { RULE_TRIGGERS } from '../../fraud/rules/rule.js';
import { ruleNoteSchema, ruleProblemSchema } from './rules-problem-view.js';

const anything = z.record(z.string(), z.unknown());
/** Longer than any condition may be: that it is too long is a problem to be told like others. */
const MAX_CONDITION = 16_384;

export const validateSchema = z
  .strictObject({
    condition: z.exactOptional(z.string().max(MAX_CONDITION)).meta({ description: 'A condition alone' }),
    trigger: z.exactOptional(z.enum(RULE_TRIGGERS)).meta({ description: 'Of the condition; `payment` where left out' }),
    rule: z.exactOptional(anything).meta({ description: 'A whole rule as it would be created or changed' }),
  })
  .refine((body) => (body.condition === undefined) !== (body.rule === undefined), 'must have either condition or rule')
  .refine(
    (body) => body.trigger === undefined || body.rule === undefined,
    'has a trigger beside the rule: leave it out',
  )
  .meta({ oneOf: [{ required: ['condition'] }, { required: ['rule'], not: { required: ['trigger'] } }] });
export type ValidateBody = z.infer<typeof validateSchema>;

export const validationSchema = z
  .object({
    valid: z.boolean(),
    problems: z.array(ruleProblemSchema),
    notes: z.array(ruleNoteSchema).meta({ description: 'What is allowed, and hardly what was meant' }),
    cost: z
      .int()
      .nullable()
      .meta({ description: 'Steps that one evaluation takes at most; null where it cannot be told' }),
  })
  .meta({ id: 'RuleValidation' });
export type ValidationView = z.infer<typeof validationSchema>;

export const TRIAL_BODY_BYTES = 512 * 1024;
const MAX_PAYMENTS = 500;
const share = (description: string) => z.exactOptional(z.number().min(0).max(1)).meta({ description });

export const trialSchema = z.strictObject({
  version: z
    .exactOptional(z.int().min(1).max(999_999_999))
    .meta({ description: 'Of the rule; the newest where left out' }),
  payments: z
    .array(
      z.strictObject({
        payment: anything.meta({ description: 'As a JSON message of the payments topic' }),
        merchantRisk: share('What the merchant-risk service would answer; left out: it does not know the merchant'),
        score: share("In place of the model's score"),
      }),
    )
    .min(1)
    .max(MAX_PAYMENTS)
    .meta({ description: 'In the order in which they arrive; cards begin without a history' }),
});
export type TrialBody = z.infer<typeof trialSchema>;

const outcomes = { fired: z.int(), notFired: z.int(), failed: z.int() };

export const trialAnswerSchema = z
  .object({
    rule: z.object({ id: z.string(), version: z.int(), hash: z.string() }),
    patternsVersion: z
      .int()
      .meta({ description: 'Version of the pattern parameters that it was tried with: the live one' }),
    totals: z.object({ payments: z.int(), expiries: z.int(), ...outcomes, refused: z.int() }),
    payments: z.array(
      z.object({
        index: z.int(),
        paymentId: z.string().nullable(),
        outcome: z.enum(['fired', 'not-fired', 'failed', 'refused']),
        reason: z.string().nullable().meta({ description: 'Why it fired, failed or could not be read' }),
        score: z.number().nullable(),
        late: z.boolean(),
        values: z
          .record(z.string(), z.union([z.number(), z.boolean(), z.string()]).nullable())
          .meta({ description: 'What the condition reads; null where not known' }),
      }),
    ),
    expiries: z
      .array(
        z.object({
          cardId: z.string(),
          dueMs: z.int(),
          smallCount: z.int(),
          outcome: z.enum(['fired', 'not-fired', 'failed']),
          reason: z.string().nullable(),
        }),
      )
      .meta({ description: 'Card tests that ended without a large payment, for rules that look at these' }),
  })
  .meta({ id: 'RuleTrial', description: 'What a rule makes of given payments' });
export type TrialAnswer = z.infer<typeof trialAnswerSchema>;
