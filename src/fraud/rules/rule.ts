/**
 * Owns what a rule and a rule set are. Neighbours: `check-rule.ts` validates what comes from outside, `compile-rules.ts`
 * makes a set runnable, `rule-book.ts` owns drafts, versions and approval, `live-rules.ts` brings a set to every task.
 */
import type { DECISIONS, SEVERITIES } from '../alerts/alert.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import type { CHANNELS } from '../payments/payment.js';

/** What makes a rule look: a payment, or the end of a card-testing sequence that never saw its large payment. */
export const RULE_TRIGGERS = ['payment', 'card-testing-expired'] as const;
export type RuleTrigger = (typeof RULE_TRIGGERS)[number];

/**
 * Which payments a rule looks at: those that match every list given. A payment that lacks a listed field is out of
 * scope. Empty: every payment.
 */
export interface RuleScope {
  readonly countries?: readonly string[];
  readonly currencies?: readonly string[];
  readonly channels?: readonly (typeof CHANNELS)[number][];
  readonly mccs?: readonly string[];
  readonly merchantIds?: readonly string[];
}

/** What of a rule is versioned and hashed: everything but the state it is in. */
export interface RuleContent {
  readonly name: string;
  readonly description: string;
  readonly trigger: RuleTrigger;
  /** CEL over the variables of `docs/RULES.md`; true fires the rule. */
  readonly condition: string;
  readonly decision: (typeof DECISIONS)[number];
  readonly severity: (typeof SEVERITIES)[number];
  readonly scope: RuleScope;
}

/** A version of a rule. It never changes; another content is another version. */
export interface RuleVersion extends RuleContent {
  /** Stable, kebab-case. Part of the ids of the alerts it decides (I6). */
  readonly id: string;
  /** From 1 on, without gaps. */
  readonly version: number;
}

/** As it runs in a task. `shadow`: evaluated and counted, never part of a decision. */
export const RUNNING_STATES = ['active', 'shadow'] as const;
export type RunningState = (typeof RUNNING_STATES)[number];

export interface Rule extends RuleVersion {
  readonly state: RunningState;
  /**
   * The rule set in which this version was last brought live: paused and resumed between two looks at the topic, it is
   * told from one that ran on. Set by the rule book; rules of a file have none. In no hash: it says nothing of what fires.
   */
  readonly liveSince?: number;
}

/** What all tasks run at a time, published as one record. Rules in the order of their ids. */
export interface RuleSet {
  /** Rises with every change that reaches the tasks. */
  readonly version: number;
  readonly rules: readonly Rule[];
  readonly patterns: PatternParameters;
}

/** Key of the one record of the rules topic. */
export const RULE_SET_KEY = 'rule-set';
