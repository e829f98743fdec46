/** Owns which routes rules consist of. Neighbour: `../api.ts`. */
import type { Provider, Type } from '@nestjs/common';
import { type ApiParts, ROLLOUT_VIEW, RULE_BOOK, RULE_TRIAL } from '../parts.js';
import { PatternParametersController } from './pattern-parameters.controller.js';
import { RuleSetsController } from './rule-sets.controller.js';
import { RulesController } from './rules.controller.js';
import { RulesTrialController } from './rules-trial.controller.js';

/** Nothing where this process keeps no rule book. */
export function ruleRoutes({ rules }: Pick<ApiParts, 'rules'>): {
  readonly controllers: readonly Type[];
  readonly providers: readonly Provider[];
} {
  if (rules === null) return { controllers: [], providers: [] };
  return {
    controllers: [RulesTrialController, RulesController, RuleSetsController, PatternParametersController],
    providers: [
      { provide: RULE_BOOK, useValue: rules.book },
      { provide: RULE_TRIAL, useValue: rules.trial },
      { provide: ROLLOUT_VIEW, useValue: rules.rollout },
    ],
  };
}
