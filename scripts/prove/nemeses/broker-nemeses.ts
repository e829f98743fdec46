/** Owns the nemeses that strike brokers. Neighbours: `catalogue.ts` lists them, `../../kafka/cluster.ts` runs brokers. */
import type { Arena, BrokersControl, Healed, Nemesis, Struck } from './nemesis.js';
import { endedBy, over, pauseBetween } from './strike.js';

const three = ({ brokers }: Arena) => (brokers.count < 3 ? 'it needs three brokers' : null);

/** kill -9 of a broker, and its restart; of several, the others go on meanwhile. */
export const brokerKill: Nemesis = {
  name: 'broker-kill',
  impossible: () => null,
  async strike({ brokers }, random) {
    const index = random.whole(0, brokers.count - 1);
    await brokers.kill(index);
    const ms = await pauseBetween(random, 200, 2_000);
    return killed(brokers, `kill -9 of broker ${index + 1} for ${ms} ms and more`);
  },
};

/** The broker that coordinates a task's Kafka transactions is killed. */
export const transactionCoordinatorKill: Nemesis = {
  name: 'transaction-coordinator-kill',
  impossible: three,
  async strike({ brokers, transactionalIds }, random) {
    const id = random.pick(transactionalIds);
    const index = await brokers.coordinatorOf('transaction', id);
    await brokers.kill(index);
    return killed(brokers, `kill -9 of broker ${index + 1}, the coordinator of transactional id ${id}`);
  },
};

/** The broker that coordinates the services' group is killed. */
export const groupCoordinatorKill: Nemesis = {
  name: 'group-coordinator-kill',
  impossible: three,
  async strike({ brokers, group }) {
    const index = await brokers.coordinatorOf('group', group);
    await brokers.kill(index);
    return killed(brokers, `kill -9 of broker ${index + 1}, the coordinator of group ${group}`);
  },
};

/** Every partition gets another leader, several times over. */
export const leadersMoved: Nemesis = {
  name: 'leaders-moved',
  impossible: three,
  async strike({ brokers, topics }, random) {
    // Kafka's own topics too: their leaders are the coordinators.
    const all = [...topics, '__transaction_state', '__consumer_offsets'];
    const times = random.whole(1, 3);
    let moved = 0;
    for (let time = 0; time < times; time++) {
      moved += await brokers.moveLeaders(all);
      await pauseBetween(random, 0, 300);
    }
    return over(`${moved} leaders and coordinators moved, in ${times} rounds`);
  },
};

function killed(brokers: BrokersControl, what: string): Struck {
  const startAll = async () => {
    for (let index = 0; index < brokers.count; index++) {
      if (!brokers.isRunning(index)) await brokers.start(index);
    }
  };
  const heal: () => Promise<Healed> = endedBy(startAll);
  return { what, goesOn: brokers.count >= 3, mayEnd: false, heal };
}
