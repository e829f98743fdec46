/** A process that relays the outbox of a database to a Kafka cluster until it is killed. Arguments: see below. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import { openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresOutbox } from '../../src/adapters/postgres/outbox-table.js';
import { OutboxRelay } from '../../src/fraud/outbox/relay.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';

const [url, broker, pipeline, stateLogTopic] = process.argv.slice(2);
const backend = await openKafkaBackend({
  brokers: [broker],
  clientId: 'relay-under-test',
  transactionalIdPrefix: pipeline,
  transactions: 'auto',
});
const { dataSource } = await openDatabase({ url, onTrouble: () => {} });
const outbox = new PostgresOutbox(dataSource);
const forget = outbox.forget.bind(outbox);
// Long enough to be killed in: between a commit and its forgetting, where a message could be sent twice.
outbox.forget = async (sequence) => {
  console.log(`forgetting while ${relay.status().state}`);
  await sleep(100);
  await forget(sequence);
};
const relay = new OutboxRelay({
  outbox,
  backend,
  taskId: `${pipeline}-outbox`,
  stateLogTopic,
  clock: systemClock,
  onTrouble: (error) => console.log(`trouble ${error.code} ${error.message}`),
});
relay.start();
console.log('started');
let state = '';
setInterval(() => {
  const now = relay.status();
  if (now.state !== state) console.log(now.state);
  state = now.state;
}, 5);
process.once('SIGTERM', () => {
  void relay.stop().then(() => {
    console.log(`stopped in state ${relay.status().state}`);
    process.exit(0);
  });
});
