import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The risk table as people keep it. */
export class CreateRiskRows1763856240000 implements MigrationInterface {
  readonly name = 'CreateRiskRows1763856240000';

  async up(queryRunner: QueryRunner): Promise<void> {
    // One sequence for all rows: a row removed and made again never has a revision that somebody has seen before.
    await queryRunner.query('CREATE SEQUENCE risk_row_revisions');
    // In the order of bytes, so that pages and prefixes are ranges of the primary key.
    await queryRunner.query(`
      CREATE TABLE risk_rows (
        merchant_id     text COLLATE "C" PRIMARY KEY,
        risk            double precision NOT NULL CHECK (risk >= 0 AND risk <= 1),
        note            text,
        revision        bigint NOT NULL,
        updated_at      timestamptz(3) NOT NULL,
        updated_by_id   text NOT NULL,
        updated_by_name text NOT NULL
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE risk_rows');
    await queryRunner.query('DROP SEQUENCE risk_row_revisions');
  }
}
