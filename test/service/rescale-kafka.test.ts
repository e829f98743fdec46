/**
 * Rescaling on Kafka beside the real service: a process that runs the generation which was sealed ends and says so, the
 * next start follows the seals by itself, and what came of the payments is what an undisturbed pipeline makes of them.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { locateBroker, type RunningBroker, startBroker } from '../../scripts/kafka/broker.js';
import { overTasks } from '../../src/app/generation.js';
import { openObjects } from '../../src/app/objects.js';
import { rescale } from '../../src/app/rescale.js';
import { savepointPlace } from '../../src/app/savepoints.js';
import { committedOffset } from '../../src/stream/checkpoint/committed-offset.js';
import { Savepoints } from '../../src/stream/checkpoint/savepoints.js';
import { lastPayments, paymentsInPieces, RescaleWorld } from './rescale-world.js';
import { type Service, Workshop } from './service.js';

/** On a busy machine; 20 s are usual. */
const TEST_MS = 180_000;

const source = await locateBroker().catch((error: Error) => {
  console.warn(`skipped: ${error.message}`);
  return null;
});

const directory = mkdtempSync(path.join(tmpdir(), 'rescale-kafka-'));
const name = `rescale-${process.pid}-${Date.now().toString(36)}`;
const workshop = new Workshop();
let broker: RunningBroker | null = null;
const worlds: RescaleWorld[] = [];

async function world(flags: readonly string[]): Promise<RescaleWorld> {
  const opened = await RescaleWorld.open(flags);
  worlds.push(opened);
  return opened;
}

describe.skipIf(source === null)('rescaling on Kafka', () => {
  let brokers = '';
  const topic = (kind: string) => `${name}.${kind}`;
  const flags = () => [
    `--kafka=${brokers}`,
    `--pipeline-name=${name}`,
    `--checkpoint-directory=${path.join(directory, 'checkpoints')}`,
    `--savepoints-directory=${path.join(directory, 'savepoints')}`,
    ...[
      'payments',
      'alerts',
      'dead-letters',
      'state-log',
      'risk-table',
      'rules',
      'rollouts',
      'labels',
      'outbox-log',
    ].map((kind) => `--topics-${kind}=${topic(kind)}`),
    '--kafka-session-timeout-ms=6000',
  ];

  beforeAll(async () => {
    if (source?.kind === 'external') brokers = source.brokers.join(',');
    else {
      broker = await startBroker({ directory: path.join(directory, 'broker'), port: 19_492, clean: true });
      brokers = broker.brokers.join(',');
    }
  });

  afterAll(async () => {
    await workshop.clear();
    for (const opened of worlds) await opened.close();
    await broker?.kill();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  it(
    'is followed by the service, and told by the one that slept through it',
    async () => {
      const pieces = paymentsInPieces(1_500, 3);
      const steady = await world([`--data-dir=${path.join(directory, 'steady')}`, '--partitions=1']);
      await steady.prepare();
      await steady.pay([...pieces.flat(), ...lastPayments()]);
      await steady.run();
      const undisturbed = await steady.outcome('end');

      const moving = await world([...flags(), `--data-dir=${path.join(directory, 'command')}`, '--partitions=4']);
      const start = (...more: readonly string[]) =>
        workshop.start([
          ...flags(),
          ...more,
          '--roles=detector',
          '--no-demo',
          '--watermark-idle-timeout-ms=0',
          '--port=0',
          `--data-dir=${path.join(directory, 'service')}`,
        ]);
      await moving.prepare();
      await moving.pay(pieces[0]);
      const first = start();
      await drained(moving, first);
      const request = { partitions: 6, source: null, force: false };
      await expect(rescale(moving.parts, request)).rejects.toMatchObject({
        code: 'pipeline-live',
        message: expect.stringContaining('Stop it first'),
      });
      await rescale(moving.parts, { ...request, force: true });
      await moving.pay(pieces[1]);
      const end = await first.ended;
      expect(end.code, first.said()).toBe(1);
      expect(first.stderr).toMatch(
        /this generation is over: the pipeline goes on as generation 2, .*Start the service again: it follows \(generation-over\)/,
      );

      const second = start('--savepoints-on-stop');
      await drained(moving, second);
      expect(await second.pipeline()).toMatchObject({
        generation: 2,
        seededFrom: expect.stringContaining('-g1-rescale-'),
        sourcePartitions: 6,
      });
      expect((await second.stop('SIGTERM')).code, second.said()).toBe(0);
      expect(second.stdout + second.stderr).toMatch(/savepoint \S+-g2-stop-\S+ in /);

      await moving.admin.ensure([{ name: topic('two'), partitions: 2, cleanup: 'delete' }]);
      await rescale(moving.parts, { partitions: 2, source: topic('two'), force: false });
      await moving.pay([...pieces[2], ...lastPayments()]);
      await moving.run();
      const outcome = await moving.outcome('end');
      expect(outcome.alerts).toEqual(undisturbed.alerts);
      expect([...outcome.cards].sort()).toEqual([...undisturbed.cards].sort());

      const savepoints = new Savepoints(await openObjects(savepointPlace(moving.configuration), moving.configuration));
      const states = (await savepoints.list()).map(({ state }) => state);
      expect(states).toEqual(['whole', 'whole', 'whole', 'whole']);
    },
    TEST_MS,
  );
});

/** Waits until the service has committed everything there is. */
async function drained(moving: RescaleWorld, service: Service): Promise<void> {
  await service.up();
  await service.until('all payments are committed', async () => {
    const generation = await moving.generation();
    const ends = await moving.admin.ranges(generation.source);
    const committed = await overTasks(moving.parts, generation, committedOffset);
    return ends.every(({ partition, end }) => (committed[partition] ?? 0) >= end);
  });
}
