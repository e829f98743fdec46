/**
 * `npm run kafka`: a broker on 127.0.0.1:9092 (`npm run kafka -- --port N`, or KAFKA_PORT, chooses another port) with its data in .kafka/data, and
 * the topics of `dev-topics.ts`. Ctrl-C stops it; what it holds is there again at the next start.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import kafkajs from 'kafkajs';

// Node runs this file as it is and wants the real extension, which the type checker would refuse in a plain import.
const { startBroker } = (await import(new URL('./broker.ts', import.meta.url).href)) as typeof import('./broker.js');

const { DEV_TOPICS: topics } = (await import(
  new URL('./dev-topics.ts', import.meta.url).href
)) as typeof import('./dev-topics.js');

const { values } = parseArgs({ options: { port: { type: 'string' } } }); // throws at anything else
const port = Number(values.port ?? process.env.KAFKA_PORT ?? 9092);
if (!Number.isInteger(port) || port < 1 || port > 65_534) {
  throw new Error(
    `--port must be between 1 and 65534 (the controller listens on the next one); it is ${values.port ?? process.env.KAFKA_PORT}`,
  );
}
const directory = join('.kafka', 'data');
const broker = await startBroker({ directory, port });

let stopping = false;
async function stop(signal: string): Promise<void> {
  if (stopping) return;
  stopping = true;
  console.log(`\n${signal}: stopping the broker ...`);
  await broker.stop();
  process.exit(0);
}
process.on('SIGINT', () => void stop('SIGINT'));
process.on('SIGTERM', () => void stop('SIGTERM'));

const admin = new kafkajs.Kafka({
  clientId: 'dev-topics',
  brokers: [...broker.brokers],
  logLevel: kafkajs.logLevel.NOTHING,
  retry: { initialRetryTime: 5, retries: 20 },
}).admin();
await admin.connect();
const existing = new Set(await admin.listTopics());
const missing = topics.filter(({ topic }) => !existing.has(topic));
if (missing.length > 0)
  await admin.createTopics({ topics: missing.map((topic) => ({ ...topic, replicationFactor: 1 })) });
await admin.disconnect();

console.log(`Kafka runs on ${broker.brokers.join(',')} (pid ${broker.pid}), data in ${directory}.
Topics: ${topics.map(({ topic, numPartitions }) => `${topic} (${numPartitions})`).join(', ')}.

  Point the detector here:    KAFKA_BROKERS=${broker.brokers[0]} npm start
  Watch alerts:               kcat -b ${broker.brokers[0]} -C -t fraud.alerts -X isolation.level=read_committed
  Send a file of payments:    npx fraud feed payments.csv.gz --kafka ${broker.brokers[0]} --rate 2000

Ctrl-C stops it. Delete ${directory} to begin anew.`);
