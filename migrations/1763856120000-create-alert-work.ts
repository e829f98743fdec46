import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Alerts that get a sequence in the same statement at most: a statement may take 15 s. */
const CHUNK = 50_000;

/** The work on alerts, the order in which they were stored, counts by hour, and indexes for lists. */
export class CreateAlertWork1763856120000 implements MigrationInterface {
  readonly name = 'CreateAlertWork1763856120000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE alerts
        ADD COLUMN stored_sequence bigint,
        ADD COLUMN revision    integer NOT NULL DEFAULT 1,
        ADD COLUMN assignee    text,
        ADD COLUMN disposition text CHECK (disposition IN ('fraud', 'legitimate', 'inconclusive')),
        ADD COLUMN reason_code text,
        ADD COLUMN label_id    text,
        DROP CONSTRAINT alerts_state_check,
        ADD CONSTRAINT alerts_state_check CHECK (state IN ('open', 'in-progress', 'closed'))`);
    await giveSequences(queryRunner);
    await queryRunner.query(`
      CREATE TABLE alert_work (
        alert_id text NOT NULL REFERENCES alerts ON DELETE CASCADE,
        revision integer NOT NULL,
        entry    jsonb NOT NULL,
        PRIMARY KEY (alert_id, revision)
      )`);
    await createCounts(queryRunner);
    await createIndexes(queryRunner);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TRIGGER alerts_counted_when_stored ON alerts');
    await queryRunner.query('DROP TRIGGER alerts_counted_when_disposed ON alerts');
    await queryRunner.query('DROP FUNCTION count_stored_alerts');
    await queryRunner.query('DROP FUNCTION count_disposed_alerts');
    await queryRunner.query('DROP TABLE alert_counts');
    await queryRunner.query('DROP TABLE alert_work');
    await queryRunner.query('DROP STATISTICS alerts_together');
    await queryRunner.query("UPDATE alerts SET state = 'open' WHERE state = 'in-progress'");
    await queryRunner.query(`
      ALTER TABLE alerts
        DROP COLUMN stored_sequence, DROP COLUMN revision, DROP COLUMN assignee, DROP COLUMN disposition,
        DROP COLUMN reason_code, DROP COLUMN label_id,
        DROP CONSTRAINT alerts_state_check,
        ADD CONSTRAINT alerts_state_check CHECK (state IN ('open', 'closed'))`);
    for (const index of ['state', 'severity', 'score', 'amount', 'assignee', 'unassigned', 'disposition']) {
      await queryRunner.query(`DROP INDEX IF EXISTS alerts_by_${index}`);
    }
    await queryRunner.query('DROP INDEX IF EXISTS alerts_in_progress');
  }
}

/** Alerts stored so far are numbered in the order in which they were stored. */
async function giveSequences(queryRunner: QueryRunner): Promise<void> {
  await queryRunner.query(`
    CREATE TEMPORARY TABLE numbered_alerts ON COMMIT DROP AS
    SELECT alert_id, row_number() OVER (ORDER BY stored_at, detected_at, alert_id) AS sequence FROM alerts`);
  await queryRunner.query('CREATE UNIQUE INDEX ON numbered_alerts (sequence)');
  await queryRunner.query('ANALYZE numbered_alerts');
  const rows: { alerts: number }[] = await queryRunner.query('SELECT count(*)::float8 AS alerts FROM numbered_alerts');
  const alerts = rows[0]?.alerts ?? 0;
  for (let from = 1; from <= alerts; from += CHUNK) {
    await queryRunner.query(
      `UPDATE alerts SET stored_sequence = numbered.sequence FROM numbered_alerts AS numbered
       WHERE numbered.alert_id = alerts.alert_id AND numbered.sequence >= $1 AND numbered.sequence < $2`,
      [from, from + CHUNK],
    );
  }
  // Whoever stores takes the next one under a lock: src/adapters/postgres/alert-sequence.ts.
  await queryRunner.query(`CREATE SEQUENCE alerts_stored_sequence START ${alerts + 1} OWNED BY alerts.stored_sequence`);
  await queryRunner.query(`
    ALTER TABLE alerts
      ALTER COLUMN stored_sequence SET DEFAULT nextval('alerts_stored_sequence'),
      ALTER COLUMN stored_sequence SET NOT NULL`);
  await queryRunner.query('CREATE UNIQUE INDEX alerts_by_sequence ON alerts (stored_sequence)');
}

/** Kept by triggers for each statement, so that no way of storing or disposing can miss them. */
async function createCounts(queryRunner: QueryRunner): Promise<void> {
  // Rows of the running hour change with every batch: room on the page lets Postgres change them in place.
  await queryRunner.query(`
    CREATE TABLE alert_counts (
      hour        integer NOT NULL, -- of detected_at, since 1970
      rule_id     text NOT NULL,
      decision    text NOT NULL,
      disposition text NOT NULL,    -- 'none' where there is none
      alerts      bigint NOT NULL,
      PRIMARY KEY (hour, rule_id, decision, disposition)
    ) WITH (fillfactor = 50)`);
  const key = (row: string) =>
    `floor(extract(epoch FROM ${row}.detected_at) / 3600)::integer, ${row}.rule_id, ${row}.decision,
     coalesce(${row}.disposition, 'none')`;
  await queryRunner.query(`INSERT INTO alert_counts SELECT ${key('alerts')}, count(*) FROM alerts GROUP BY 1, 2, 3, 4`);
  const add = `ON CONFLICT (hour, rule_id, decision, disposition)
    DO UPDATE SET alerts = alert_counts.alerts + excluded.alerts`;
  await queryRunner.query(`
    CREATE FUNCTION count_stored_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO alert_counts (hour, rule_id, decision, disposition, alerts)
      SELECT ${key('stored')}, count(*) FROM stored GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
      ${add};
      RETURN NULL;
    END $$`);
  await queryRunner.query(`
    CREATE FUNCTION count_disposed_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO alert_counts (hour, rule_id, decision, disposition, alerts)
      SELECT hour, rule_id, decision, disposition, sum(change)
      FROM (
        SELECT ${key('after')}, 1 FROM after UNION ALL SELECT ${key('before')}, -1 FROM before
      ) AS changes (hour, rule_id, decision, disposition, change)
      GROUP BY 1, 2, 3, 4 HAVING sum(change) <> 0 ORDER BY 1, 2, 3, 4
      ${add};
      RETURN NULL;
    END $$`);
  await queryRunner.query(`
    CREATE TRIGGER alerts_counted_when_stored AFTER INSERT ON alerts REFERENCING NEW TABLE AS stored
    FOR EACH STATEMENT EXECUTE FUNCTION count_stored_alerts()`);
  await queryRunner.query(`
    CREATE TRIGGER alerts_counted_when_disposed AFTER UPDATE ON alerts
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION count_disposed_alerts()`);
}

/** Each serves one filter or order of lists; expressions must be those of src/adapters/postgres/alert-rows.ts. */
async function createIndexes(queryRunner: QueryRunner): Promise<void> {
  const newest = 'detected_at DESC, alert_id DESC';
  await queryRunner.query(`CREATE INDEX alerts_by_state ON alerts (state, ${newest})`);
  await queryRunner.query(`CREATE INDEX alerts_by_severity ON alerts (severity, ${newest})`);
  await queryRunner.query("CREATE INDEX alerts_by_score ON alerts (coalesce(score, '-1'::float8) DESC, alert_id DESC)");
  await queryRunner.query(
    "CREATE INDEX alerts_by_amount ON alerts (coalesce(amount_minor, '-1'::bigint) DESC, alert_id DESC)",
  );
  await queryRunner.query(`CREATE INDEX alerts_by_assignee ON alerts (assignee, ${newest}) WHERE assignee IS NOT NULL`);
  // What analysts open all day, and never much: their own alerts that are not closed.
  await queryRunner.query(
    `CREATE INDEX alerts_in_progress ON alerts (assignee, ${newest}) WHERE state = 'in-progress'`,
  );
  await queryRunner.query(`CREATE INDEX alerts_by_unassigned ON alerts (${newest}) WHERE assignee IS NULL`);
  await queryRunner.query(
    `CREATE INDEX alerts_by_disposition ON alerts (disposition, ${newest}) WHERE disposition IS NOT NULL`,
  );
  // Who is open has nobody, who is critical is declined: the planner must not take them for independent.
  await queryRunner.query(
    'CREATE STATISTICS alerts_together (mcv) ON state, assignee, disposition, decision, severity FROM alerts',
  );
}
