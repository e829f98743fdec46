import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The rule book: rules with their versions, pattern parameters, and every rule set that was published. */
export class CreateRules1763856060000 implements MigrationInterface {
  readonly name = 'CreateRules1763856060000';

  async up(queryRunner: QueryRunner): Promise<void> {
    // Ids are ordered by code unit, as rule sets are, whatever the database's own language is.
    await queryRunner.query(`
      CREATE TABLE rules (
        rule_id        text COLLATE "C" PRIMARY KEY,
        revision       integer NOT NULL,
        state          text NOT NULL CHECK (state IN ('draft', 'shadow', 'active', 'paused')),
        live_version   integer,
        newest_version integer NOT NULL,
        live_since_set bigint,
        pause          text,
        created_at     timestamptz(3) NOT NULL,
        changed_at     timestamptz(3) NOT NULL,
        CHECK ((state = 'draft') = (live_version IS NULL)),
        CHECK ((state = 'draft') = (live_since_set IS NULL)),
        CHECK ((state = 'paused') = (pause IS NOT NULL))
      )`);
    await queryRunner.query('CREATE INDEX rules_by_state ON rules (state, rule_id)');
    // Contents are JSON as text, so that reading one back can't change what was hashed.
    await queryRunner.query(`
      CREATE TABLE rule_versions (
        rule_id          text COLLATE "C" NOT NULL REFERENCES rules,
        version          integer NOT NULL,
        content          text NOT NULL,
        hash             text NOT NULL,
        author_id        text NOT NULL,
        author_name      text NOT NULL,
        author_principal text NOT NULL,
        created_at       timestamptz(3) NOT NULL,
        PRIMARY KEY (rule_id, version)
      )`);
    // The last revision of each rule removed: one written anew under its id goes on from there, so no ETag means two rules.
    await queryRunner.query(`
      CREATE TABLE removed_rules (
        rule_id  text COLLATE "C" PRIMARY KEY,
        revision integer NOT NULL
      )`);
    await queryRunner.query(`
      CREATE TABLE pattern_parameters (
        only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        revision       integer NOT NULL,
        live_version   integer NOT NULL,
        newest_version integer NOT NULL
      )`);
    await queryRunner.query(`
      CREATE TABLE pattern_parameter_versions (
        version          integer PRIMARY KEY,
        parameters       text NOT NULL,
        hash             text NOT NULL,
        author_id        text NOT NULL,
        author_name      text NOT NULL,
        author_principal text NOT NULL,
        created_at       timestamptz(3) NOT NULL
      )`);
    await queryRunner.query(`
      CREATE TABLE rule_sets (
        version      bigint PRIMARY KEY,
        hash         text NOT NULL,
        rule_count   integer NOT NULL,
        cause        text NOT NULL,
        made_by_id   text NOT NULL,
        made_by_name text NOT NULL,
        made_at      timestamptz(3) NOT NULL,
        content      text NOT NULL
      )`);
    await queryRunner.query(`
      CREATE FUNCTION refuse_version_change() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'versions never change' USING ERRCODE = 'insufficient_privilege';
      END $$`);
    for (const table of ['rule_versions', 'pattern_parameter_versions', 'rule_sets']) {
      const what = table === 'rule_versions' ? 'UPDATE OR TRUNCATE' : 'UPDATE OR DELETE OR TRUNCATE';
      await queryRunner.query(`
        CREATE TRIGGER ${table}_are_final BEFORE ${what} ON ${table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_version_change()`);
    }
    // A draft may go, as nothing was ever decided by it; what ran stays for good.
    await queryRunner.query(`
      CREATE FUNCTION refuse_removal_of_what_ran() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF EXISTS (SELECT FROM rules WHERE rule_id = OLD.rule_id AND state = 'draft') THEN
          RETURN OLD;
        END IF;
        RAISE EXCEPTION 'versions that ran never change' USING ERRCODE = 'insufficient_privilege';
      END $$`);
    await queryRunner.query(`
      CREATE TRIGGER rule_versions_that_ran_stay BEFORE DELETE ON rule_versions
      FOR EACH ROW EXECUTE FUNCTION refuse_removal_of_what_ran()`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE rule_sets');
    await queryRunner.query('DROP TABLE pattern_parameter_versions');
    await queryRunner.query('DROP TABLE pattern_parameters');
    await queryRunner.query('DROP TABLE removed_rules');
    await queryRunner.query('DROP TABLE rule_versions');
    await queryRunner.query('DROP TABLE rules');
    await queryRunner.query('DROP FUNCTION refuse_removal_of_what_ran');
    await queryRunner.query('DROP FUNCTION refuse_version_change');
  }
}
