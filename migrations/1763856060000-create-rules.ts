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
        rule_id     text COLLATE "C" NOT NULL REFERENCES rules,
        version     integer NOT NULL,
        content     text NOT NULL,
        hash        text NOT NULL,
        author_id   text NOT NULL,
        author_name text NOT NULL,
        created_at  timestamptz(3) NOT NULL,
        PRIMARY KEY (rule_id, version)
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
        version     integer PRIMARY KEY,
        parameters  text NOT NULL,
        hash        text NOT NULL,
        author_id   text NOT NULL,
        author_name text NOT NULL,
        created_at  timestamptz(3) NOT NULL
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
      await queryRunner.query(`
        CREATE TRIGGER ${table}_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON ${table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_version_change()`);
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE rule_sets');
    await queryRunner.query('DROP TABLE pattern_parameter_versions');
    await queryRunner.query('DROP TABLE pattern_parameters');
    await queryRunner.query('DROP TABLE rule_versions');
    await queryRunner.query('DROP TABLE rules');
    await queryRunner.query('DROP FUNCTION refuse_version_change');
  }
}
