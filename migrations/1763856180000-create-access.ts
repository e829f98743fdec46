import type { MigrationInterface, QueryRunner } from 'typeorm';

/** API keys and users: who may come in. Of secrets, only hashes. */
export class CreateAccess1763856180000 implements MigrationInterface {
  readonly name = 'CreateAccess1763856180000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE api_keys (
        id           text PRIMARY KEY,
        name         text NOT NULL,
        salt         text NOT NULL,
        hash         text NOT NULL,
        roles        text[] NOT NULL,
        scopes       text[],
        created_by   text NOT NULL,
        principal    text NOT NULL,
        created_at   timestamptz(3) NOT NULL,
        expires_at   timestamptz(3),
        revoked_at   timestamptz(3),
        last_used_at timestamptz(3)
      )`);
    // `generation` rises whenever tokens given out before are to lose their worth.
    await queryRunner.query(`
      CREATE TABLE users (
        username   text PRIMARY KEY,
        name       text NOT NULL,
        password   text NOT NULL,
        roles      text[] NOT NULL,
        created_by text NOT NULL,
        created_at timestamptz(3) NOT NULL,
        changed_at timestamptz(3) NOT NULL,
        disabled   boolean NOT NULL DEFAULT false,
        revision   integer NOT NULL DEFAULT 1,
        generation integer NOT NULL DEFAULT 1
      )`);
    await queryRunner.query('CREATE INDEX audit_of_action ON audit_entries (action, sequence DESC)');
    await queryRunner.query('CREATE INDEX audit_by_time ON audit_entries (at)');
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP INDEX audit_by_time');
    await queryRunner.query('DROP INDEX audit_of_action');
    await queryRunner.query('DROP TABLE users');
    await queryRunner.query('DROP TABLE api_keys');
  }
}
