import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What goes with every change: the audit trail, the outbox and the answers kept for repeated requests. */
export class CreateWrites1763856000000 implements MigrationInterface {
  readonly name = 'CreateWrites1763856000000';

  async up(queryRunner: QueryRunner): Promise<void> {
    // `entry` is the hashed content as JSON text, so that reading it back can't change a digit of it.
    await queryRunner.query(`
      CREATE TABLE audit_entries (
        sequence      bigint PRIMARY KEY,
        at            timestamptz(3) NOT NULL,
        actor_id      text NOT NULL,
        action        text NOT NULL,
        subject_kind  text NOT NULL,
        subject_id    text NOT NULL,
        entry         text NOT NULL,
        previous_hash text NOT NULL,
        hash          text NOT NULL
      )`);
    await queryRunner.query('CREATE INDEX audit_of_subject ON audit_entries (subject_kind, subject_id, sequence DESC)');
    await queryRunner.query('CREATE INDEX audit_of_actor ON audit_entries (actor_id, sequence DESC)');
    await queryRunner.query(`
      CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
      END $$`);
    await queryRunner.query(`
      CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
      FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()`);
    await queryRunner.query(`
      CREATE TABLE outbox (
        sequence bigint PRIMARY KEY,
        topic    text NOT NULL,
        key      text NOT NULL,
        value    text,
        at       timestamptz(3) NOT NULL
      )`);
    // The last sequence given out: the outbox is emptied behind the relay, its numbers go on. The log remembers how far
    // it got by outbox_id, so that the low numbers of a new database are not taken for ones that were relayed.
    await queryRunner.query(`
      CREATE TABLE outbox_sequence (
        only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        outbox_id     uuid NOT NULL DEFAULT gen_random_uuid(),
        last_sequence bigint NOT NULL
      )`);
    await queryRunner.query('INSERT INTO outbox_sequence (last_sequence) VALUES (0)');
    await queryRunner.query(`
      CREATE TABLE idempotency_keys (
        actor_id    text NOT NULL,
        key         text NOT NULL,
        fingerprint text NOT NULL,
        answer      text NOT NULL,
        at          timestamptz(3) NOT NULL,
        PRIMARY KEY (actor_id, key)
      )`);
    await queryRunner.query('CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at)');
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE idempotency_keys');
    await queryRunner.query('DROP TABLE outbox_sequence');
    await queryRunner.query('DROP TABLE outbox');
    await queryRunner.query('DROP TABLE audit_entries');
    await queryRunner.query('DROP FUNCTION refuse_audit_change');
  }
}
