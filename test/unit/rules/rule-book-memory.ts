/** The rule book's store in memory: changes run one after another, and a change that fails leaves nothing. */
import type { AuditEvent } from '../../../src/fraud/audit/audit-trail.js';
import type { WriteRequest } from '../../../src/fraud/audit/write-request.js';
import type { RuleSet } from '../../../src/fraud/rules/rule.js';
import { isRunning, type RuleEntry, type RuleState } from '../../../src/fraud/rules/rule-book-lifecycle.js';
import type {
  BookTransaction,
  PatternEntry,
  RuleDetail,
  RuleStore,
  StoredPatterns,
  StoredRuleSet,
  StoredVersion,
} from '../../../src/fraud/rules/rule-book-store.js';

interface Kept {
  entries: Map<string, RuleEntry>;
  removed: Map<string, number>;
  versions: StoredVersion[];
  patterns: PatternEntry | null;
  patternVersions: StoredPatterns[];
  sets: StoredRuleSet[];
  audited: (AuditEvent & { actor: string })[];
  published: RuleSet[];
}

const nothing = (): Kept => ({
  entries: new Map(),
  removed: new Map(),
  versions: [],
  patterns: null,
  patternVersions: [],
  sets: [],
  audited: [],
  published: [],
});

export class MemoryRuleStore implements RuleStore {
  kept = nothing();
  nowMs = 1_000;
  private last: Promise<unknown> = Promise.resolve();

  change<T>(request: WriteRequest, work: (book: BookTransaction) => Promise<T>): Promise<T> {
    const run = async () => {
      const next = structuredClone(this.kept);
      const answer = await work(this.transaction(next, request));
      this.kept = next;
      return structuredClone(answer);
    };
    const done = this.last.then(run);
    this.last = done.catch(() => {});
    return done;
  }

  rules = async (state: RuleState | null, limit: number, after: string | null) =>
    [...this.kept.entries.values()]
      .filter((entry) => (state === null || entry.state === state) && (after === null || entry.id > after))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit)
      .map((entry) => this.detail(entry));

  rule = async (id: string) => {
    const entry = this.kept.entries.get(id);
    return entry === undefined ? null : this.detail(entry);
  };

  versions = async (id: string, limit: number, below: number | null) =>
    this.kept.versions
      .filter(({ rule }) => rule.id === id && (below === null || rule.version < below))
      .reverse()
      .slice(0, limit);

  version = async (id: string, version: number) => versionIn(this.kept, id, version);

  patterns = async () => {
    const { patterns: entry } = this.kept;
    if (entry === null) return null;
    const of = (version: number) => this.kept.patternVersions[version - 1];
    return { entry, live: of(entry.liveVersion), newest: of(entry.newestVersion) };
  };

  patternVersions = async (limit: number, below: number | null) =>
    this.kept.patternVersions
      .filter(({ version }) => below === null || version < below)
      .reverse()
      .slice(0, limit);

  ruleSets = async (limit: number, below: number | null) =>
    this.kept.sets
      .filter(({ version }) => below === null || version < below)
      .reverse()
      .slice(0, limit);

  ruleSet = async (version: number | 'newest') =>
    (version === 'newest' ? this.kept.sets.at(-1) : this.kept.sets[version - 1]) ?? null;

  private detail(entry: RuleEntry): RuleDetail {
    const newest = versionIn(this.kept, entry.id, entry.newestVersion);
    if (newest === null) throw new Error(`rule ${entry.id} lacks its newest version`);
    return {
      entry,
      newest,
      live: entry.liveVersion === null ? null : versionIn(this.kept, entry.id, entry.liveVersion),
    };
  }

  private transaction(kept: Kept, { actor }: WriteRequest): BookTransaction {
    return {
      nowMs: this.nowMs,
      entry: async (id) => kept.entries.get(id) ?? null,
      putEntry: async (entry) => void kept.entries.set(entry.id, entry),
      removeEntry: async ({ id, revision }) => {
        kept.entries.delete(id);
        kept.versions = kept.versions.filter(({ rule }) => rule.id !== id);
        kept.removed.set(id, revision);
      },
      removedRevision: async (id) => kept.removed.get(id) ?? 0,
      ruleCount: async () => kept.entries.size,
      version: async (id, version) => versionIn(kept, id, version),
      addVersion: async (version) => {
        if (versionIn(kept, version.rule.id, version.rule.version) !== null) throw new Error('a version was changed');
        kept.versions.push(version);
      },
      running: async () =>
        [...kept.entries.values()]
          .filter(isRunning)
          .sort((a, b) => (a.id < b.id ? -1 : 1))
          .map((entry) => {
            const version = versionIn(kept, entry.id, entry.liveVersion ?? 0);
            if (version === null || (entry.state !== 'active' && entry.state !== 'shadow'))
              throw new Error('not running');
            return { ...version.rule, state: entry.state, liveSince: entry.liveSinceSet ?? 0 };
          }),
      patterns: async () => kept.patterns,
      putPatterns: async (entry) => {
        kept.patterns = entry;
      },
      patternVersion: async (version) => kept.patternVersions[version - 1] ?? null,
      addPatternVersion: async (version) => void kept.patternVersions.push(version),
      newestSet: async () => kept.sets.at(-1) ?? null,
      addSet: async (set) => void kept.sets.push(set),
      audit: (event) => void kept.audited.push({ ...event, actor: actor.id }),
      publish: (ruleSet) => void kept.published.push(ruleSet),
    };
  }
}

function versionIn(kept: Kept, id: string, version: number): StoredVersion | null {
  return kept.versions.find(({ rule }) => rule.id === id && rule.version === version) ?? null;
}
