/** Owns how a rule's problem is told over HTTP. Neighbours: validation, and `../http-errors.ts` for refused rules. */
import { z } from 'zod';
import type { RuleProblem } from '../../fraud/rules/rule-problems.js';

export const ruleProblemSchema = z.object({
  path: z.string().meta({ description: 'As `condition` or `scope.countries[0]`' }),
  line: z.int().nullable().meta({ description: 'In the condition, from 1 on' }),
  column: z.int().nullable().meta({ description: 'In the line, from 1 on, in UTF-16 units' }),
  message: z.string(),
  hint: z.string().meta({ description: 'What to do about it' }),
});

export const ruleNoteSchema = ruleProblemSchema.pick({ path: true, message: true, hint: true });

export function viewRuleProblem({ path, line, column, message, hint }: RuleProblem): z.infer<typeof ruleProblemSchema> {
  return { path, line: line ?? null, column: column ?? null, message, hint };
}
