/**
 * Owns the numbers of the advisory locks that our processes take in a database: all in one place, as two uses of one
 * number would wait for each other without anybody seeing why.
 */
export const ADVISORY_LOCKS = {
  /** One process at a time brings the schema up to date. */
  migration: 5_012_883,
  /** Changes made by people and by the program, one after another. */
  write: 5_012_884,
  /** Alerts get their sequence in the order of commits. */
  alertOrder: 5_012_885,
  /** The one relay of the deployment, for as long as its session lives. */
  outboxSeat: 5_012_886,
} as const;
