/**
 * Owns the rows of the rule book's tables as Postgres gives them, and what they stand for. Neighbour: `rule-store.ts`.
 * Times come as Date from a query, and as text out of `row_to_json`.
 */
import type { PatternParameters } from '../../fraud/patterns/pattern-parameters.js';
import type { Rule, RuleContent, RuleSet, RunningState } from '../../fraud/rules/rule.js';
import type { Pause, RuleEntry, RuleState } from '../../fraud/rules/rule-book-lifecycle.js';
import type {
  RuleDetail,
  RuleSetHead,
  StoredPatterns,
  StoredRuleSet,
  StoredVersion,
} from '../../fraud/rules/rule-book-store.js';

type Time = Date | string;
const timeOf = (time: Time): number => new Date(time).getTime();

export interface RuleRow {
  rule_id: string;
  revision: number;
  state: RuleState;
  live_version: number | null;
  newest_version: number;
  /** bigint: text. */
  live_since_set: string | null;
  /** JSON. */
  pause: string | null;
  created_at: Time;
  changed_at: Time;
}

export interface VersionRow {
  rule_id: string;
  version: number;
  /** JSON. */
  content: string;
  hash: string;
  author_id: string;
  author_name: string;
  author_principal: string;
  created_at: Time;
}

export interface DetailRow extends RuleRow {
  newest: VersionRow;
  live: VersionRow | null;
}

export interface RunningRow {
  state: RunningState;
  live_since_set: string;
  rule_id: string;
  version: number;
  /** JSON. */
  content: string;
}

export interface PatternRow {
  version: number;
  /** JSON. */
  parameters: string;
  hash: string;
  author_id: string;
  author_name: string;
  author_principal: string;
  created_at: Time;
}

export interface SetHeadRow {
  /** bigint: text. */
  version: string;
  hash: string;
  rule_count: number;
  cause: string;
  made_by_id: string;
  made_by_name: string;
  made_at: Time;
}

export interface SetRow extends SetHeadRow {
  /** JSON. */
  content: string;
}

export function entryOf(row: RuleRow): RuleEntry {
  return {
    id: row.rule_id,
    revision: row.revision,
    state: row.state,
    liveVersion: row.live_version,
    newestVersion: row.newest_version,
    liveSinceSet: row.live_since_set === null ? null : Number(row.live_since_set),
    pause: row.pause === null ? null : (JSON.parse(row.pause) as Pause),
    createdAt: timeOf(row.created_at),
    changedAt: timeOf(row.changed_at),
  };
}

export function versionOf(row: VersionRow): StoredVersion {
  return {
    rule: { id: row.rule_id, version: row.version, ...(JSON.parse(row.content) as RuleContent) },
    hash: row.hash,
    author: { id: row.author_id, name: row.author_name, principal: row.author_principal },
    createdAt: timeOf(row.created_at),
  };
}

export function detailOf(row: DetailRow): RuleDetail {
  return {
    entry: entryOf(row),
    live: row.live === null ? null : versionOf(row.live),
    newest: versionOf(row.newest),
  };
}

export function runningOf({ rule_id: id, version, content, state, live_since_set: since }: RunningRow): Rule {
  return { id, version, ...(JSON.parse(content) as RuleContent), state, liveSince: Number(since) };
}

export function patternsOf(row: PatternRow): StoredPatterns {
  return {
    version: row.version,
    parameters: JSON.parse(row.parameters) as PatternParameters,
    hash: row.hash,
    author: { id: row.author_id, name: row.author_name, principal: row.author_principal },
    createdAt: timeOf(row.created_at),
  };
}

export function headOf(row: SetHeadRow): RuleSetHead {
  return {
    version: Number(row.version),
    hash: row.hash,
    ruleCount: row.rule_count,
    madeBy: { id: row.made_by_id, name: row.made_by_name },
    madeAt: timeOf(row.made_at),
    cause: row.cause,
  };
}

export function setOf(row: SetRow): StoredRuleSet {
  return { ...headOf(row), ruleSet: JSON.parse(row.content) as RuleSet };
}
