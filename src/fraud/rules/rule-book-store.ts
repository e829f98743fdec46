/**
 * Owns what is kept of rules, pattern parameters and rule sets, and the port behind which it lies. Neighbours:
 * `rule-book.ts` asks; `src/adapters/postgres/rule-store.ts` keeps it, the memory store of the tests does as well.
 */
import type { AuditEvent } from '../audit/audit-trail.js';
import type { WriteRequest } from '../audit/write-request.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import type { Rule, RuleSet, RuleVersion } from './rule.js';
import type { Author, DoneBy, RuleEntry, RuleState } from './rule-book-lifecycle.js';

/** A version and how it came to be. Never changes. */
export interface StoredVersion {
  readonly rule: RuleVersion;
  /** 16 hex digits. */
  readonly hash: string;
  readonly author: Author;
  /** ms since 1970. */
  readonly createdAt: number;
}

/** A rule with the contents that matter. */
export interface RuleDetail {
  readonly entry: RuleEntry;
  /** What runs, or ran until the pause. */
  readonly live: StoredVersion | null;
  readonly newest: StoredVersion;
}

/** A version of the pattern parameters. Never changes. */
export interface StoredPatterns {
  readonly version: number;
  readonly parameters: PatternParameters;
  /** 16 hex digits. */
  readonly hash: string;
  readonly author: Author;
  readonly createdAt: number;
}

/** Which pattern parameters run. There is always a live version. */
export interface PatternEntry {
  /** The ETag. */
  readonly revision: number;
  readonly liveVersion: number;
  readonly newestVersion: number;
}

export interface PatternDetail {
  readonly entry: PatternEntry;
  readonly live: StoredPatterns;
  readonly newest: StoredPatterns;
}

/** What is told of a rule set in lists. */
export interface RuleSetHead {
  readonly version: number;
  /** 16 hex digits. */
  readonly hash: string;
  readonly ruleCount: number;
  readonly madeBy: DoneBy;
  /** ms since 1970. */
  readonly madeAt: number;
  /** Why there is this set, as `rule.activated high-score 3`. */
  readonly cause: string;
}

/** A rule set as it was published. Never changes. */
export interface StoredRuleSet extends RuleSetHead {
  readonly ruleSet: RuleSet;
}

/** The book inside one change: what is read is what the change before left, what is written is kept together or not at all. */
export interface BookTransaction {
  /** ms since 1970: everything in this change carries it. */
  readonly nowMs: number;
  entry(id: string): Promise<RuleEntry | null>;
  /** Adds or replaces. */
  putEntry(entry: RuleEntry): Promise<void>;
  /** Takes the rule out with its versions, and remembers its revision. Refused by the database where it ever ran. */
  removeEntry(entry: RuleEntry): Promise<void>;
  /** Of the rule of this id that was last removed; 0 where none was. */
  removedRevision(id: string): Promise<number>;
  ruleCount(): Promise<number>;
  version(id: string, version: number): Promise<StoredVersion | null>;
  addVersion(version: StoredVersion): Promise<void>;
  /** Everything in state active or shadow with its `liveSince`, in the order of ids (by code unit). */
  running(): Promise<readonly Rule[]>;
  /** Null while the book is empty. */
  patterns(): Promise<PatternEntry | null>;
  putPatterns(entry: PatternEntry): Promise<void>;
  patternVersion(version: number): Promise<StoredPatterns | null>;
  addPatternVersion(version: StoredPatterns): Promise<void>;
  newestSet(): Promise<StoredRuleSet | null>;
  addSet(set: StoredRuleSet): Promise<void>;
  audit(event: AuditEvent): void;
  /** The set is owed to the rules' topic. */
  publish(ruleSet: RuleSet): void;
}

/** Errors of all: code `database-unavailable`. Lists begin behind `after` or below `below`; null begins at the start. */
export interface RuleStore {
  /**
   * Runs a change after all others, in one database transaction with its audit entries and what it publishes. Returns
   * the answer of the first time where the request is a repeated one. What `work` returns must survive JSON.
   */
  change<T>(request: WriteRequest, work: (book: BookTransaction) => Promise<T>): Promise<T>;
  /** In the order of ids. */
  rules(state: RuleState | null, limit: number, after: string | null): Promise<readonly RuleDetail[]>;
  rule(id: string): Promise<RuleDetail | null>;
  /** Newest first. */
  versions(id: string, limit: number, below: number | null): Promise<readonly StoredVersion[]>;
  version(id: string, version: number): Promise<StoredVersion | null>;
  patterns(): Promise<PatternDetail | null>;
  /** Newest first. */
  patternVersions(limit: number, below: number | null): Promise<readonly StoredPatterns[]>;
  /** Newest first. */
  ruleSets(limit: number, below: number | null): Promise<readonly RuleSetHead[]>;
  ruleSet(version: number | 'newest'): Promise<StoredRuleSet | null>;
}
