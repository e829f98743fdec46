/** Owns the reference service's process: supervisor, workers, and a progress line four times a second. */
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import { Supervisor } from '../../src/stream/runtime/supervisor.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import type { ReferenceSettings } from './topics.js';

const settings = JSON.parse(process.argv[2]) as ReferenceSettings;
const backend = await openKafkaBackend({
  brokers: settings.brokers,
  clientId: 'bench-reference',
  transactionalIdPrefix: settings.run,
  transactions: 'auto',
});
const supervisor = new Supervisor({
  entry: new URL('./reference-worker.js', import.meta.url),
  workerData: settings,
  workers: settings.workers,
  assignment: await backend.openAssignment({ group: settings.run, source: { topics: [settings.topics.payments] } }),
  clock: systemClock,
  onFatal: (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  },
  say: (level, message) => process.stderr.write(`${level}: ${message}\n`),
});
await supervisor.start();
const ticker = setInterval(() => {
  const payments = supervisor.tasks.reduce((sum, { records }) => sum + records, 0);
  const lag = supervisor.tasks.reduce((sum, task) => sum + task.endOffset - task.committedOffset, 0);
  const epochs = supervisor.tasks.reduce((sum, { epoch }) => sum + epoch + 1, 0);
  process.stdout.write(`payments=${payments} lag=${lag} epochs=${epochs}\n`);
}, 250);
process.on('SIGTERM', () => {
  clearInterval(ticker);
  supervisor.stop().then(
    async () => {
      await backend.close();
      process.exit(0);
    },
    () => process.exit(1),
  );
});
