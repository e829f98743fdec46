/**
 * Owns the topics that `npm run kafka` makes: all that the service needs, with four partitions where the service, which
 * makes what is missing, would make two. Neighbours: `dev.ts` makes them; this runs from source and can't import the
 * list in `src/app/topics.ts`, so a test (test/checks/topics.test.ts) holds the two equal.
 */
export interface DevTopic {
  readonly topic: string;
  readonly numPartitions: number;
  readonly configEntries: { readonly name: string; readonly value: string }[];
}

const SPREAD = 4;
const kept = { name: 'retention.ms', value: '-1' };
const quarter = { name: 'retention.ms', value: String(90 * 86_400_000) };
/** Records of up to 2 MiB, and their framing. */
const large = { name: 'max.message.bytes', value: String(2 * 1_048_576 + 4_096) };
const deleted = { name: 'cleanup.policy', value: 'delete' };
const compacted = { name: 'cleanup.policy', value: 'compact' };

export const DEV_TOPICS: readonly DevTopic[] = [
  { topic: 'payments.raw', numPartitions: SPREAD, configEntries: [deleted] },
  { topic: 'fraud.alerts', numPartitions: SPREAD, configEntries: [deleted, quarter, large] },
  { topic: 'payments.dead-letters', numPartitions: SPREAD, configEntries: [deleted, quarter, large] },
  { topic: 'fraud.state', numPartitions: SPREAD, configEntries: [deleted, kept] },
  { topic: 'fraud.risk-table', numPartitions: 1, configEntries: [compacted] },
  { topic: 'fraud.rules', numPartitions: 1, configEntries: [compacted, large] },
  { topic: 'fraud.rule-rollouts', numPartitions: 1, configEntries: [compacted] },
  { topic: 'fraud.labels', numPartitions: SPREAD, configEntries: [deleted, kept] },
  { topic: 'fraud.outbox-log', numPartitions: 1, configEntries: [deleted, kept] },
];
