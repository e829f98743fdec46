/**
 * Owns the look at a consumer group: who owns which partitions, as the broker sees it. Neighbour: `runs.ts` kills an
 * instance only when the work is shared.
 */
import kafkajs from 'kafkajs';

/** Partitions of `topic` by the client id of the member that owns them; empty while the group is not stable. */
export async function partitionsByClient(
  brokers: readonly string[],
  group: string,
  topic: string,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const admin = new kafkajs.Kafka({
    clientId: 'prove-group',
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 5, retries: 20 },
  }).admin();
  await admin.connect();
  try {
    const [found] = (await admin.describeGroups([group])).groups;
    if (found === undefined || found.state !== 'Stable') return new Map();
    return new Map(
      found.members.map(({ clientId, memberAssignment }) => {
        const assigned = kafkajs.AssignerProtocol.MemberAssignment.decode(memberAssignment);
        return [clientId, assigned?.assignment[topic] ?? []];
      }),
    );
  } finally {
    await admin.disconnect();
  }
}
