/**
 * Owns the rule book: rules and pattern parameters with their versions, who may bring which live, and the rule sets that
 * come of it. Neighbours: `rule-book-lifecycle.ts` decides, the port in `rule-book-store.ts` keeps, the admin API asks,
 * `live-rules.ts` runs in every task what is published here.
 *
 * Invariants
 * B1 Versions and rule sets never change. Another content is another version. What ran once is never removed.
 * B2 Every change of what runs makes exactly one rule set, the next in number, in the same database transaction as the
 *    change, its audit entry and the record that is owed to the topic. What changes nothing makes none.
 * B3 A rule set holds every rule in state active or shadow, each in its live version, in the order of ids, and the live
 *    pattern parameters: all that tasks run, in one record.
 * B4 With `fourEyes`, nobody brings a version live that they wrote, be it through API keys: people are compared.
 */
import { systemActor } from '../access/actor.js';
import { type Precondition, requireRevision } from '../audit/precondition.js';
import type { WriteRequest } from '../audit/write-request.js';
import { canonicalJson } from '../canonical-json.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import { checkRuleContent } from './check-rule.js';
import type { RuleTrip } from './rollout.js';
import type { RunningState } from './rule.js';
import {
  FourEyesError,
  RuleBookFullError,
  RuleExistsError,
  RuleHasRunError,
  RuleNotFoundError,
  RuleSetNotFoundError,
  VersionNotFoundError,
} from './rule-book-errors.js';
import {
  type Author,
  broughtLive,
  isPausedByTrip,
  newEntry,
  pausedBy,
  type RuleEntry,
  type RuleState,
  withNewVersion,
} from './rule-book-lifecycle.js';
import {
  aVersion,
  BOOK_LIMITS,
  contentOf,
  makeSet,
  nameOf,
  nextSetVersion,
  PATTERNS,
  patternVersionOf,
  plant,
  refuseEmpty,
  type SeedSet,
  somePatterns,
  versionOf,
} from './rule-book-sets.js';
import type {
  BookTransaction,
  PatternDetail,
  RuleDetail,
  RuleSetHead,
  RuleStore,
  StoredPatterns,
  StoredRuleSet,
  StoredVersion,
} from './rule-book-store.js';

export class RuleBook {
  constructor(
    private readonly store: RuleStore,
    private readonly settings: { readonly fourEyes: boolean },
  ) {}

  rules(state: RuleState | null, limit: number, after: string | null): Promise<readonly RuleDetail[]> {
    return this.store.rules(state, limit, after);
  }

  /** Errors: `rule-not-found`. */
  async rule(id: string): Promise<RuleDetail> {
    return (await this.store.rule(id)) ?? refuseRule(id);
  }

  /** Newest first. Errors: `rule-not-found`. */
  async versions(id: string, limit: number, below: number | null): Promise<readonly StoredVersion[]> {
    await this.rule(id);
    return this.store.versions(id, limit, below);
  }

  /** Errors: `rule-not-found`, `rule-version-not-found`. */
  async version(id: string, version: number): Promise<StoredVersion> {
    const found = await this.store.version(id, version);
    if (found !== null) return found;
    const { entry } = await this.rule(id);
    throw new VersionNotFoundError(`Rule '${id}'`, version, entry.newestVersion);
  }

  /** Writes a new rule, as a draft. Errors: `rule-invalid`, `rule-exists`, `rule-book-full`. */
  async create(request: WriteRequest, id: string, input: unknown): Promise<RuleDetail> {
    const content = checkRuleContent(input);
    return this.store.change(request, async (book) => {
      if ((await book.entry(id)) !== null) throw new RuleExistsError(id);
      if ((await book.ruleCount()) >= BOOK_LIMITS.maxRules) throw new RuleBookFullError(BOOK_LIMITS.maxRules);
      const entry = newEntry(id, await book.removedRevision(id), book.nowMs);
      const newest = aVersion(id, 1, content, request.actor, book.nowMs);
      await book.putEntry(entry);
      await book.addVersion(newest);
      book.audit({ action: 'rule.created', subject: subjectOf(id), details: { before: null, after: told(newest) } });
      return { entry, live: null, newest };
    });
  }

  /**
   * Writes another version; what runs goes on running. The newest version's own content makes none.
   * Errors: `rule-invalid`, `rule-not-found`, `precondition-failed`.
   */
  async change(request: WriteRequest, id: string, input: unknown, expected: Precondition): Promise<RuleDetail> {
    const content = checkRuleContent(input);
    return this.store.change(request, async (book) => {
      const before = await entryOf(book, id, expected);
      const newest = await versionOf(book, before, before.newestVersion);
      if (canonicalJson(contentOf(newest)) === canonicalJson(content)) return detailOf(book, before);
      const entry = withNewVersion(before, book.nowMs);
      const next = aVersion(id, entry.newestVersion, content, request.actor, book.nowMs);
      await book.putEntry(entry);
      await book.addVersion(next);
      const details = { before: told(newest), after: told(next) };
      book.audit({ action: 'rule.changed', subject: subjectOf(id), details });
      return detailOf(book, entry);
    });
  }

  /**
   * Brings a version live: decides (`active`), or is counted alone (`shadow`). An older version goes back to it, the
   * paused one resumes. Errors: `rule-not-found`, `rule-version-not-found`, `precondition-failed`, `four-eyes`,
   * `rule-set-full`, `rule-set-too-large`; `rule-invalid` where the version is no longer accepted.
   */
  async bringLive(
    request: WriteRequest,
    id: string,
    wanted: { readonly version: number; readonly to: RunningState },
    expected: Precondition,
  ): Promise<RuleDetail> {
    return this.store.change(request, async (book) => {
      const before = await entryOf(book, id, expected);
      const version = await versionOf(book, before, wanted.version);
      const inSet = await nextSetVersion(book);
      const entry = broughtLive(before, wanted.to, wanted.version, inSet, book.nowMs);
      if (entry === before) return detailOf(book, before);
      this.requireOtherEyes(request, version.author, `Version ${wanted.version} of rule '${id}'`);
      checkRuleContent(contentOf(version));
      await book.putEntry(entry);
      const action = wanted.to === 'active' ? 'rule.activated' : 'rule.shadowed';
      await auditRun(book, request, action, before, entry, {});
      return detailOf(book, entry);
    });
  }

  /** Takes out a rule that never ran. Errors: `rule-not-found`, `rule-has-run`, `precondition-failed`. */
  async remove(request: WriteRequest, id: string, expected: Precondition): Promise<void> {
    await this.store.change(request, async (book) => {
      const entry = await entryOf(book, id, expected);
      if (entry.state !== 'draft') throw new RuleHasRunError(id);
      const newest = await versionOf(book, entry, entry.newestVersion);
      await book.removeEntry(entry);
      book.audit({ action: 'rule.removed', subject: subjectOf(id), details: { before: told(newest), after: null } });
      return null;
    });
  }

  /** Stops a rule that runs. Errors: `rule-not-found`, `rule-not-running`, `precondition-failed`. */
  async pause(request: WriteRequest, id: string, reason: string, expected: Precondition): Promise<RuleDetail> {
    return this.store.change(request, async (book) => {
      const before = await entryOf(book, id, expected);
      const entry = pausedBy(before, { by: nameOf(request.actor), at: book.nowMs, reason });
      if (entry === before) return detailOf(book, before);
      await book.putEntry(entry);
      await auditRun(book, request, 'rule.paused', before, entry, { reason });
      return detailOf(book, entry);
    });
  }

  /**
   * Pauses the rule that a breaker gave up, unless that version was paused or brought live anew since. Repeating it
   * changes nothing. Returns whether it paused.
   */
  async pauseTripped(trip: RuleTrip): Promise<boolean> {
    // Most trips that are read have been dealt with: no change need wait for them.
    const seen = await this.store.rule(trip.ruleId);
    if (seen === null || !isPausedByTrip(seen.entry, trip)) return false;
    const actor = systemActor('rule-breaker');
    const request = { actor, requestId: `trip-${trip.taskId}-${trip.ruleId}`, idempotency: null };
    return this.store.change(request, async (book) => {
      const before = await book.entry(trip.ruleId);
      if (before === null || !isPausedByTrip(before, trip)) return false;
      const share = `${trip.failures} of ${trip.evaluations} evaluations failed in ${trip.taskId}`;
      const reason = `${share}, the last one: ${trip.reason}`;
      const entry = pausedBy(before, { by: nameOf(actor), at: book.nowMs, reason });
      await book.putEntry(entry);
      await auditRun(book, request, 'rule.paused', before, entry, { reason, trip });
      return true;
    });
  }

  /** Errors: `rule-book-empty`. */
  async patterns(): Promise<PatternDetail> {
    return (await this.store.patterns()) ?? refuseEmpty();
  }

  /** Newest first. */
  patternVersions(limit: number, below: number | null): Promise<readonly StoredPatterns[]> {
    return this.store.patternVersions(limit, below);
  }

  /** Writes another version of the pattern parameters; what runs goes on. Errors: `precondition-failed`, `rule-book-empty`. */
  async changePatterns(
    request: WriteRequest,
    parameters: PatternParameters,
    expected: Precondition,
  ): Promise<PatternDetail> {
    return this.store.change(request, async (book) => {
      const before = (await book.patterns()) ?? refuseEmpty();
      requireRevision(expected, PATTERNS, before.revision);
      const newest = await patternVersionOf(book, before.newestVersion, before.newestVersion);
      const live = await patternVersionOf(book, before.liveVersion, before.newestVersion);
      if (canonicalJson(newest.parameters) === canonicalJson(parameters)) return { entry: before, live, newest };
      const entry = { ...before, revision: before.revision + 1, newestVersion: before.newestVersion + 1 };
      const next = somePatterns(entry.newestVersion, parameters, request.actor, book.nowMs);
      await book.putPatterns(entry);
      await book.addPatternVersion(next);
      const details = { before: toldPatterns(newest), after: toldPatterns(next) };
      book.audit({ action: 'pattern-parameters.changed', subject: PATTERNS_SUBJECT, details });
      return { entry, live, newest: next };
    });
  }

  /**
   * Brings a version of the pattern parameters live, an older one to go back. Errors: `precondition-failed`,
   * `rule-version-not-found`, `four-eyes`, `rule-book-empty`.
   */
  async activatePatterns(request: WriteRequest, version: number, expected: Precondition): Promise<PatternDetail> {
    return this.store.change(request, async (book) => {
      const before = (await book.patterns()) ?? refuseEmpty();
      requireRevision(expected, PATTERNS, before.revision);
      const live = await patternVersionOf(book, version, before.newestVersion);
      const newest = await patternVersionOf(book, before.newestVersion, before.newestVersion);
      if (before.liveVersion === version) return { entry: before, live, newest };
      this.requireOtherEyes(request, live.author, `Version ${version} of the pattern parameters`);
      const formerly = await patternVersionOf(book, before.liveVersion, before.newestVersion);
      const entry = { ...before, revision: before.revision + 1, liveVersion: version };
      await book.putPatterns(entry);
      const made = await makeSet(book, nameOf(request.actor), `pattern-parameters.activated ${version}`);
      const details = { before: toldPatterns(formerly), after: toldPatterns(live), ruleSet: made };
      book.audit({ action: 'pattern-parameters.activated', subject: PATTERNS_SUBJECT, details });
      return { entry, live, newest };
    });
  }

  /** Newest first. */
  ruleSets(limit: number, below: number | null): Promise<readonly RuleSetHead[]> {
    return this.store.ruleSets(limit, below);
  }

  /** Errors: `rule-set-not-found`; `rule-book-empty` where the newest is asked for and there is none. */
  async ruleSet(version: number | 'newest'): Promise<StoredRuleSet> {
    const found = await this.store.ruleSet(version);
    if (found !== null) return found;
    if (version === 'newest') return refuseEmpty();
    throw new RuleSetNotFoundError(version);
  }

  /**
   * Fills an empty book: every rule as its version 1, the pattern parameters as theirs, published as rule set 1. A book
   * that has a set keeps it, and publishes it again where the topic has lost it. Safe in several processes at once.
   */
  async seed(seed: SeedSet, topic: { readonly isEmpty: boolean }): Promise<'seeded' | 'published-again' | 'nothing'> {
    if (!topic.isEmpty && (await this.store.ruleSet('newest')) !== null) return 'nothing';
    const actor = systemActor('seed');
    return this.store.change({ actor, requestId: 'seed', idempotency: null }, async (book) => {
      const newest = await book.newestSet();
      if (newest === null) {
        await plant(book, seed, actor);
        return 'seeded';
      }
      if (!topic.isEmpty) return 'nothing';
      book.publish(newest.ruleSet);
      const { version, hash } = newest;
      const subject = { kind: 'rule-set', id: String(version) };
      book.audit({ action: 'rule-set.published-again', subject, details: { version, hash } });
      return 'published-again';
    });
  }

  /** Upholds B4. */
  private requireOtherEyes({ actor }: WriteRequest, author: Author, what: string): void {
    if (this.settings.fourEyes && author.principal === actor.principal) throw new FourEyesError(what);
  }
}

const PATTERNS_SUBJECT = { kind: 'pattern-parameters', id: 'pattern-parameters' };

const subjectOf = (id: string) => ({ kind: 'rule', id });
function refuseRule(id: string): never {
  throw new RuleNotFoundError(id);
}

/** A version as the audit trail tells of it. */
const told = (version: StoredVersion) => ({ version: version.rule.version, hash: version.hash, ...contentOf(version) });
const toldPatterns = ({ version, hash, parameters }: StoredPatterns) => ({ version, hash, parameters });
const toldState = ({ state, liveVersion }: RuleEntry) => ({ state, liveVersion });

async function entryOf(book: BookTransaction, id: string, expected: Precondition): Promise<RuleEntry> {
  const entry = (await book.entry(id)) ?? refuseRule(id);
  requireRevision(expected, `Rule '${id}'`, entry.revision);
  return entry;
}

async function detailOf(book: BookTransaction, entry: RuleEntry): Promise<RuleDetail> {
  const newest = await versionOf(book, entry, entry.newestVersion);
  const live = entry.liveVersion === null ? null : await versionOf(book, entry, entry.liveVersion);
  return { entry, live, newest };
}

/** Makes the set that a rule's change leads to, and the audit entry that tells of both. */
async function auditRun(
  book: BookTransaction,
  request: WriteRequest,
  action: string,
  before: RuleEntry,
  after: RuleEntry,
  more: Readonly<Record<string, unknown>>,
): Promise<void> {
  const cause = `${action} ${after.id} ${after.liveVersion ?? ''}`.trim();
  const ruleSet = await makeSet(book, nameOf(request.actor), cause);
  const details = { before: toldState(before), after: toldState(after), ruleSet, ...more };
  book.audit({ action, subject: subjectOf(after.id), details });
}
