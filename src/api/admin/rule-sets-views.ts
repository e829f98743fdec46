/** Owns the forms of rule sets over HTTP, and how a roll-out is told. Neighbour: `rule-sets.controller.ts`. */
import { z } from 'zod';
import { patternParametersSchema } from '../../fraud/patterns/pattern-parameters.js';
import type { RolloutState } from '../../fraud/rules/rollout-view.js';
import type { RuleSetHead, StoredRuleSet } from '../../fraud/rules/rule-book-store.js';
import { pageOf } from '../paging.js';
import { doneBySchema, hashSchema, runningRuleSchema, timeSchema } from './rules-views.js';

const headShape = {
  version: z.int(),
  hash: hashSchema,
  ruleCount: z.int(),
  madeBy: doneBySchema,
  madeAt: timeSchema,
  cause: z.string().meta({ description: 'What it was made for, as `rule.activated high-score 3`' }),
};

export const ruleSetPageSchema = pageOf(z.object(headShape).meta({ id: 'RuleSetHead' })).meta({
  id: 'RuleSetPage',
  description: 'Rule sets, newest first',
});

const contentShape = {
  ...headShape,
  rules: z.array(runningRuleSchema),
  patterns: patternParametersSchema,
};

export const ruleSetSchema = z
  .object(contentShape)
  .meta({ id: 'RuleSet', description: 'All that tasks run from a moment on: rules and pattern parameters' });
export type RuleSetView = z.infer<typeof ruleSetSchema>;

const versionAndHash = z.object({ version: z.int(), hash: hashSchema });

const rolloutSchema = z
  .object({
    complete: z.boolean().meta({ description: 'Every task runs this very set' }),
    trouble: z.string().nullable().meta({ description: 'Why the rest may be old; null where it is not' }),
    tasks: z.array(
      z.object({
        taskId: z.string(),
        partition: z.int(),
        ruleSet: versionAndHash,
        fromOffset: z
          .int()
          .meta({ description: 'Payments of the source partition from this offset on are decided by it' }),
        at: timeSchema,
        refused: z
          .object({ version: z.int().nullable(), reason: z.string() })
          .nullable()
          .meta({ description: 'The newest set could not be used; the one before stays in force' }),
      }),
    ),
    missing: z.array(z.int()).meta({ description: 'Partitions whose task has told of no set yet' }),
    trips: z.array(
      z.object({
        taskId: z.string(),
        partition: z.int(),
        ruleId: z.string(),
        ruleVersion: z.int(),
        ruleSetVersion: z.int(),
        failures: z.int(),
        evaluations: z.int(),
        reason: z.string(),
        fromOffset: z.int(),
        at: timeSchema,
      }),
    ),
    leftOut: z.int().meta({
      description: 'Records that tasks of other pipelines wrote into the same topic: they count for nothing here',
    }),
  })
  .meta({ id: 'Rollout', description: 'How far the current rule set has come, task by task' });
type RolloutAnswer = z.infer<typeof rolloutSchema>;

export const currentRuleSetSchema = z.object({ ...contentShape, rollout: rolloutSchema }).meta({
  id: 'CurrentRuleSet',
  description: 'The newest rule set, and which tasks run it',
});
export type CurrentRuleSetView = z.infer<typeof currentRuleSetSchema>;

export function viewHead({ version, hash, ruleCount, madeBy, madeAt, cause }: RuleSetHead): RuleSetHead {
  return { version, hash, ruleCount, madeBy, madeAt, cause };
}

export function viewRuleSet(stored: StoredRuleSet): RuleSetView {
  const { rules, patterns } = stored.ruleSet;
  return { ...viewHead(stored), rules: rules as RuleSetView['rules'], patterns };
}

/** Trips of rules that run no longer in that version, or were brought live anew since, are left out. */
export function viewRollout({ version, hash, ruleSet }: StoredRuleSet, state: RolloutState): RolloutAnswer {
  const tasks = state.takeUps
    .map(({ taskId, partition, ruleSet: taken, fromOffset, at, refused }) => ({
      taskId,
      partition,
      ruleSet: taken,
      fromOffset,
      at,
      refused,
    }))
    .sort((a, b) => a.partition - b.partition);
  const heard = new Set(tasks.map(({ partition }) => partition));
  const missing = Array.from({ length: state.partitions }, (_, partition) => partition).filter(
    (one) => !heard.has(one),
  );
  const runs = new Map(ruleSet.rules.map((rule) => [rule.id, rule]));
  const trips = state.trips
    .filter(({ ruleId, ruleVersion, ruleSetVersion }) => {
      const rule = runs.get(ruleId);
      return rule?.version === ruleVersion && ruleSetVersion >= (rule.liveSince ?? 0);
    })
    .map(({ kind: _, ...trip }) => trip);
  const isCurrent = (taken: { readonly version: number; readonly hash: string }) =>
    taken.version === version && taken.hash === hash;
  return {
    complete: state.partitions > 0 && missing.length === 0 && tasks.every((task) => isCurrent(task.ruleSet)),
    trouble: state.trouble,
    tasks,
    missing,
    trips,
    leftOut: state.leftOut,
  };
}
