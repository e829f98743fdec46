import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Alerts with the columns that lists filter by, the projector's positions, and records that could not be stored. */
export class CreateAlerts1763780400000 implements MigrationInterface {
  readonly name = 'CreateAlerts1763780400000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE alerts (
        alert_id     text PRIMARY KEY,
        card_id      text NOT NULL,
        payment_id   text,
        merchant_id  text,
        amount_minor bigint,
        currency     text,
        occurred_at  timestamptz(3) NOT NULL,
        detected_at  timestamptz(3) NOT NULL,
        decision     text NOT NULL CHECK (decision IN ('review', 'decline')),
        severity     text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
        score        double precision,
        rule_id      text NOT NULL,
        rules        jsonb NOT NULL,
        evidence     jsonb NOT NULL,
        state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
        stored_at    timestamptz(3) NOT NULL DEFAULT now()
      )`);
    // Lists go newest first by (detected_at, alert_id); each index serves one filter in that order.
    await queryRunner.query('CREATE INDEX alerts_newest ON alerts (detected_at DESC, alert_id DESC)');
    await queryRunner.query('CREATE INDEX alerts_of_card ON alerts (card_id, detected_at DESC, alert_id DESC)');
    await queryRunner.query('CREATE INDEX alerts_of_merchant ON alerts (merchant_id, detected_at DESC, alert_id DESC)');
    await queryRunner.query('CREATE INDEX alerts_of_rule ON alerts (rule_id, detected_at DESC, alert_id DESC)');
    await queryRunner.query('CREATE INDEX alerts_declined ON alerts (decision, detected_at DESC, alert_id DESC)');
    await queryRunner.query(`
      CREATE TABLE projector_offsets (
        topic        text NOT NULL,
        partition_id integer NOT NULL,
        next_offset  bigint NOT NULL,
        stored_at    timestamptz(3) NOT NULL DEFAULT now(),
        PRIMARY KEY (topic, partition_id)
      )`);
    await queryRunner.query(`
      CREATE TABLE projector_rejects (
        topic         text NOT NULL,
        partition_id  integer NOT NULL,
        record_offset bigint NOT NULL,
        reason        text NOT NULL,
        record_value  bytea,
        stored_at     timestamptz(3) NOT NULL DEFAULT now(),
        PRIMARY KEY (topic, partition_id, record_offset)
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE projector_rejects');
    await queryRunner.query('DROP TABLE projector_offsets');
    await queryRunner.query('DROP TABLE alerts');
  }
}
