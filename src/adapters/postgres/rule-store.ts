/**
 * Owns the rule book in Postgres. Changes run through {@link PostgresWrites}, so each is one database transaction with
 * its audit entries and the rule set that it owes to the topic. Neighbours: the port `RuleStore` in `src/fraud/rules`,
 * `rule-store-rows.ts` turns rows into what the port speaks of.
 */
import type { DataSource, EntityManager } from 'typeorm';
import type { AuditEvent } from '../../fraud/audit/audit-trail.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { RULE_SET_KEY, type Rule, type RuleSet } from '../../fraud/rules/rule.js';
import type { RuleEntry, RuleState } from '../../fraud/rules/rule-book-lifecycle.js';
import type {
  BookTransaction,
  PatternDetail,
  PatternEntry,
  RuleDetail,
  RuleSetHead,
  RuleStore,
  StoredPatterns,
  StoredRuleSet,
  StoredVersion,
} from '../../fraud/rules/rule-book-store.js';
import { databaseError } from './database-errors.js';
import {
  type DetailRow,
  detailOf,
  entryOf,
  headOf,
  type PatternRow,
  patternsOf,
  type RuleRow,
  type RunningRow,
  runningOf,
  type SetHeadRow,
  type SetRow,
  setOf,
  type VersionRow,
  versionOf,
} from './rule-store-rows.js';
import type { PostgresWrites, WriteTransaction } from './writes.js';

const RULE = 'rule_id, revision, state, live_version, newest_version, live_since_set, pause, created_at, changed_at';
const VERSION = 'rule_id, version, content, hash, author_id, author_name, author_principal, created_at';
const PATTERN = 'version, parameters, hash, author_id, author_name, author_principal, created_at';
const SET_HEAD = 'version, hash, rule_count, cause, made_by_id, made_by_name, made_at';

/** A rule with its newest and its live version, as JSON: the three are read as of one moment. */
const DETAIL = `
  SELECT r.*, row_to_json(n) AS newest, row_to_json(l) AS live
  FROM rules r
  JOIN rule_versions n ON n.rule_id = r.rule_id AND n.version = r.newest_version
  LEFT JOIN rule_versions l ON l.rule_id = r.rule_id AND l.version = r.live_version`;

type Query = EntityManager['query'];

export class PostgresRuleStore implements RuleStore {
  constructor(
    private readonly dataSource: DataSource,
    private readonly writes: Pick<PostgresWrites, 'run'>,
    /** Where rule sets are published. */
    private readonly topic: string,
  ) {}

  change<T>(request: WriteRequest, work: (book: BookTransaction) => Promise<T>): Promise<T> {
    return this.writes.run(request, (transaction) => work(new PostgresBook(transaction, this.topic)));
  }

  async rules(state: RuleState | null, limit: number, after: string | null): Promise<readonly RuleDetail[]> {
    const rows = await this.read<DetailRow>(
      'listing rules',
      `${DETAIL} WHERE ($1::text IS NULL OR r.state = $1) AND ($2::text IS NULL OR r.rule_id > $2) ORDER BY r.rule_id LIMIT $3`,
      [state, after, limit],
    );
    return rows.map(detailOf);
  }

  async rule(id: string): Promise<RuleDetail | null> {
    const rows = await this.read<DetailRow>('reading a rule', `${DETAIL} WHERE r.rule_id = $1`, [id]);
    return rows.length === 0 ? null : detailOf(rows[0]);
  }

  async versions(id: string, limit: number, below: number | null): Promise<readonly StoredVersion[]> {
    const rows = await this.read<VersionRow>(
      "listing a rule's versions",
      `SELECT ${VERSION} FROM rule_versions
       WHERE rule_id = $1 AND ($2::int IS NULL OR version < $2) ORDER BY version DESC LIMIT $3`,
      [id, below, limit],
    );
    return rows.map(versionOf);
  }

  version(id: string, version: number): Promise<StoredVersion | null> {
    return this.reading("reading a rule's version", (query) => oneVersion(query, id, version));
  }

  async patterns(): Promise<PatternDetail | null> {
    const [row] = await this.read<{
      revision: number;
      live_version: number;
      newest_version: number;
      live: PatternRow;
      newest: PatternRow;
    }>(
      'reading the pattern parameters',
      `SELECT p.*, row_to_json(n) AS newest, row_to_json(l) AS live
       FROM pattern_parameters p
       JOIN pattern_parameter_versions n ON n.version = p.newest_version
       JOIN pattern_parameter_versions l ON l.version = p.live_version`,
      [],
    );
    if (row === undefined) return null;
    const { revision, live_version: liveVersion, newest_version: newestVersion } = row;
    return {
      entry: { revision, liveVersion, newestVersion },
      live: patternsOf(row.live),
      newest: patternsOf(row.newest),
    };
  }

  async patternVersions(limit: number, below: number | null): Promise<readonly StoredPatterns[]> {
    const rows = await this.read<PatternRow>(
      'listing pattern parameters',
      `SELECT ${PATTERN} FROM pattern_parameter_versions
       WHERE ($1::int IS NULL OR version < $1) ORDER BY version DESC LIMIT $2`,
      [below, limit],
    );
    return rows.map(patternsOf);
  }

  async ruleSets(limit: number, below: number | null): Promise<readonly RuleSetHead[]> {
    const rows = await this.read<SetHeadRow>(
      'listing rule sets',
      `SELECT ${SET_HEAD} FROM rule_sets
       WHERE ($1::bigint IS NULL OR version < $1) ORDER BY version DESC LIMIT $2`,
      [below, limit],
    );
    return rows.map(headOf);
  }

  async ruleSet(version: number | 'newest'): Promise<StoredRuleSet | null> {
    return this.reading('reading a rule set', async (query) => {
      if (version === 'newest') return newestSet(query);
      const rows: SetRow[] = await query(`SELECT ${SET_HEAD}, content FROM rule_sets WHERE version = $1`, [version]);
      return rows.length === 0 ? null : setOf(rows[0]);
    });
  }

  private read<Row>(doing: string, sql: string, parameters: unknown[]): Promise<Row[]> {
    return this.reading(doing, (query) => query(sql, parameters));
  }

  private async reading<T>(doing: string, work: (query: Query) => Promise<T>): Promise<T> {
    try {
      return await work(this.dataSource.manager.query.bind(this.dataSource.manager));
    } catch (error) {
      throw databaseError(error, doing);
    }
  }
}

/** The book inside one change. What fails here fails the change, which names the error. */
class PostgresBook implements BookTransaction {
  private readonly query: Query;

  constructor(
    private readonly transaction: WriteTransaction,
    private readonly topic: string,
  ) {
    this.query = transaction.manager.query.bind(transaction.manager);
  }

  get nowMs(): number {
    return this.transaction.nowMs;
  }

  async entry(id: string): Promise<RuleEntry | null> {
    const rows: RuleRow[] = await this.query(`SELECT ${RULE} FROM rules WHERE rule_id = $1`, [id]);
    return rows.length === 0 ? null : entryOf(rows[0]);
  }

  async putEntry(entry: RuleEntry): Promise<void> {
    const { id, revision, state, liveVersion, newestVersion, liveSinceSet, pause, createdAt, changedAt } = entry;
    await this.query(
      `INSERT INTO rules (${RULE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       ON CONFLICT (rule_id) DO UPDATE SET revision = $2, state = $3, live_version = $4, newest_version = $5,
         live_since_set = $6, pause = $7, changed_at = $9`,
      [
        id,
        revision,
        state,
        liveVersion,
        newestVersion,
        liveSinceSet,
        pause === null ? null : JSON.stringify(pause),
        new Date(createdAt),
        new Date(changedAt),
      ],
    );
  }

  async removeEntry({ id, revision }: RuleEntry): Promise<void> {
    await this.query('DELETE FROM rule_versions WHERE rule_id = $1', [id]);
    await this.query('DELETE FROM rules WHERE rule_id = $1', [id]);
    await this.query(
      `INSERT INTO removed_rules (rule_id, revision) VALUES ($1, $2)
       ON CONFLICT (rule_id) DO UPDATE SET revision = $2`,
      [id, revision],
    );
  }

  async removedRevision(id: string): Promise<number> {
    const rows: { revision: number }[] = await this.query('SELECT revision FROM removed_rules WHERE rule_id = $1', [
      id,
    ]);
    return rows.length === 0 ? 0 : rows[0].revision;
  }

  async ruleCount(): Promise<number> {
    const rows: { number: string }[] = await this.query('SELECT count(*) AS number FROM rules');
    return Number(rows[0].number);
  }

  version(id: string, version: number): Promise<StoredVersion | null> {
    return oneVersion(this.query, id, version);
  }

  async addVersion({ rule, hash, author, createdAt }: StoredVersion): Promise<void> {
    const { id, version, ...content } = rule;
    await this.query(`INSERT INTO rule_versions (${VERSION}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, [
      id,
      version,
      JSON.stringify(content),
      hash,
      author.id,
      author.name,
      author.principal,
      new Date(createdAt),
    ]);
  }

  async running(): Promise<readonly Rule[]> {
    const rows: RunningRow[] = await this.query(
      `SELECT r.state, r.live_since_set, v.rule_id, v.version, v.content
       FROM rules r JOIN rule_versions v ON v.rule_id = r.rule_id AND v.version = r.live_version
       WHERE r.state IN ('active', 'shadow') ORDER BY r.rule_id`,
    );
    return rows.map(runningOf);
  }

  async patterns(): Promise<PatternEntry | null> {
    const rows: { revision: number; live_version: number; newest_version: number }[] = await this.query(
      'SELECT revision, live_version, newest_version FROM pattern_parameters',
    );
    if (rows.length === 0) return null;
    const [{ revision, live_version: liveVersion, newest_version: newestVersion }] = rows;
    return { revision, liveVersion, newestVersion };
  }

  async putPatterns({ revision, liveVersion, newestVersion }: PatternEntry): Promise<void> {
    await this.query(
      `INSERT INTO pattern_parameters (revision, live_version, newest_version) VALUES ($1, $2, $3)
       ON CONFLICT (only_row) DO UPDATE SET revision = $1, live_version = $2, newest_version = $3`,
      [revision, liveVersion, newestVersion],
    );
  }

  async patternVersion(version: number): Promise<StoredPatterns | null> {
    const rows: PatternRow[] = await this.query(
      `SELECT ${PATTERN} FROM pattern_parameter_versions WHERE version = $1`,
      [version],
    );
    return rows.length === 0 ? null : patternsOf(rows[0]);
  }

  async addPatternVersion({ version, parameters, hash, author, createdAt }: StoredPatterns): Promise<void> {
    await this.query(`INSERT INTO pattern_parameter_versions (${PATTERN}) VALUES ($1, $2, $3, $4, $5, $6, $7)`, [
      version,
      JSON.stringify(parameters),
      hash,
      author.id,
      author.name,
      author.principal,
      new Date(createdAt),
    ]);
  }

  newestSet(): Promise<StoredRuleSet | null> {
    return newestSet(this.query);
  }

  async addSet({ version, hash, ruleCount, cause, madeBy, madeAt, ruleSet }: StoredRuleSet): Promise<void> {
    await this.query(`INSERT INTO rule_sets (${SET_HEAD}, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, [
      version,
      hash,
      ruleCount,
      cause,
      madeBy.id,
      madeBy.name,
      new Date(madeAt),
      JSON.stringify(ruleSet),
    ]);
  }

  audit(event: AuditEvent): void {
    this.transaction.audit(event);
  }

  publish(ruleSet: RuleSet): void {
    this.transaction.publish({ topic: this.topic, key: RULE_SET_KEY, value: ruleSet });
  }
}

async function oneVersion(query: Query, id: string, version: number): Promise<StoredVersion | null> {
  const rows: VersionRow[] = await query(
    `SELECT ${VERSION} FROM rule_versions WHERE rule_id = $1 AND version = $2::int`,
    [id, version],
  );
  return rows.length === 0 ? null : versionOf(rows[0]);
}

async function newestSet(query: Query): Promise<StoredRuleSet | null> {
  const rows: SetRow[] = await query(`SELECT ${SET_HEAD}, content FROM rule_sets ORDER BY version DESC LIMIT 1`);
  return rows.length === 0 ? null : setOf(rows[0]);
}
