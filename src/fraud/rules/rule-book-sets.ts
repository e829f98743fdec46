/**
 * Owns the rule sets that come of the book, and reading versions inside a change. Neighbours: `rule-book.ts` has the
 * operations and the invariants that are upheld here.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import type { RuleContent, RuleSet } from './rule.js';
import {
  RuleBookEmptyError,
  RuleSetFullError,
  RuleSetTooLargeError,
  VersionNotFoundError,
} from './rule-book-errors.js';
import { type Author, broughtLive, type DoneBy, newEntry, type RuleEntry } from './rule-book-lifecycle.js';
import type { BookTransaction, StoredPatterns, StoredVersion } from './rule-book-store.js';
import { ruleHash, ruleSetHash } from './rule-set.js';

export const BOOK_LIMITS = {
  /** In the book at all, drafts and paused ones too. */
  maxRules: 2_000,
  /** Evaluated for every payment. */
  maxRunning: 200,
  /** Of the record that carries a set: brokers take 1 MB where nothing else is configured. */
  maxSetBytes: 900_000,
} as const;

/** What an empty book begins with. */
export type SeedSet = Pick<RuleSet, 'rules' | 'patterns'>;

export const PATTERNS = 'The pattern parameters';

export const nameOf = ({ id, name }: DoneBy): DoneBy => ({ id, name });
const authorOf = ({ id, name, principal }: Author): Author => ({ id, name, principal });

export function contentOf({ rule: { id: _, version: __, ...content } }: StoredVersion): RuleContent {
  return content;
}

export function aVersion(
  id: string,
  version: number,
  content: RuleContent,
  author: Author,
  nowMs: number,
): StoredVersion {
  const rule = { id, version, ...content };
  return { rule, hash: ruleHash(rule), author: authorOf(author), createdAt: nowMs };
}

export function somePatterns(
  version: number,
  parameters: PatternParameters,
  author: Author,
  nowMs: number,
): StoredPatterns {
  const hash = createHash('sha256').update(canonicalJson(parameters)).digest('hex').slice(0, 16);
  return { version, parameters, hash, author: authorOf(author), createdAt: nowMs };
}

export async function nextSetVersion(book: BookTransaction): Promise<number> {
  return ((await book.newestSet())?.version ?? 0) + 1;
}

/** Upholds B2 and B3. Errors: {@link RuleSetFullError}, {@link RuleSetTooLargeError}. */
export async function makeSet(
  book: BookTransaction,
  madeBy: DoneBy,
  cause: string,
): Promise<{ readonly version: number; readonly hash: string }> {
  const rules = await book.running();
  if (rules.length > BOOK_LIMITS.maxRunning) throw new RuleSetFullError(BOOK_LIMITS.maxRunning);
  const entry = (await book.patterns()) ?? refuseEmpty();
  const { parameters: patterns } = await patternVersionOf(book, entry.liveVersion, entry.newestVersion);
  const version = await nextSetVersion(book);
  const ruleSet: RuleSet = { version, rules, patterns };
  const bytes = Buffer.byteLength(JSON.stringify(ruleSet));
  if (bytes > BOOK_LIMITS.maxSetBytes) throw new RuleSetTooLargeError(bytes, BOOK_LIMITS.maxSetBytes);
  const hash = ruleSetHash(ruleSet);
  await book.addSet({ version, hash, ruleCount: rules.length, madeBy, madeAt: book.nowMs, cause, ruleSet });
  book.publish(ruleSet);
  return { version, hash };
}

export async function plant(book: BookTransaction, { rules, patterns }: SeedSet, author: Author): Promise<void> {
  await book.putPatterns({ revision: 1, liveVersion: 1, newestVersion: 1 });
  await book.addPatternVersion(somePatterns(1, patterns, author, book.nowMs));
  for (const { id, version: _, state, ...content } of rules) {
    await book.putEntry(broughtLive(newEntry(id, 0, book.nowMs), state, 1, 1, book.nowMs));
    await book.addVersion(aVersion(id, 1, content, author, book.nowMs));
  }
  const made = await makeSet(book, nameOf(author), 'rule-set.seeded');
  const details = { ruleSet: made, rules: rules.map(({ id, state }) => ({ id, state })), patterns };
  book.audit({ action: 'rule-set.seeded', subject: { kind: 'rule-set', id: String(made.version) }, details });
}

export async function versionOf(
  book: BookTransaction,
  { id, newestVersion }: RuleEntry,
  version: number,
): Promise<StoredVersion> {
  const found = await book.version(id, version);
  if (found === null) throw new VersionNotFoundError(`Rule '${id}'`, version, newestVersion);
  return found;
}

export async function patternVersionOf(
  book: BookTransaction,
  version: number,
  newest: number,
): Promise<StoredPatterns> {
  const found = await book.patternVersion(version);
  if (found === null) throw new VersionNotFoundError(PATTERNS, version, newest);
  return found;
}

export function refuseEmpty(): never {
  throw new RuleBookEmptyError();
}
