/** Owns the tests of the first stage's end: once detection's tasks are sealed, no first-stage task commits any more. */
import { beforeEach, describe, expect, it } from 'vitest';
import { type Configuration, loadConfiguration } from '../../src/app/configuration/index.js';
import { boundToGeneration, fenceFirstStage } from '../../src/app/first-stage-end.js';
import { type Generation, openTaskLog } from '../../src/app/generation.js';
import { repartitionLogOf } from '../../src/app/repartition-task.js';
import { cardRepartitionName } from '../../src/fraud/repartition.js';
import { sealTask } from '../../src/stream/checkpoint/seal.js';
import { ownerIdOf, taskIdOf } from '../../src/stream/pipeline/pipeline.js';
import type { EpochLog, LogBackend, TopicAdmin } from '../../src/stream/ports.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';

const generation: Generation = {
  number: 1,
  stateLog: 'fraud.state',
  source: 'by-card',
  partitions: 2,
  seededFrom: null,
};
const seal = { generation: 2, stateLog: 'fraud.state-g2', source: 'by-card', partitions: 4, savepoint: 's' };
const LONG = `pay.${'x'.repeat(240)}`;

let configuration: Configuration;
let backend: LogBackend;
let admin: TopicAdmin;

beforeEach(async () => {
  const argv = ['--keying-mode=repartition'];
  configuration = loadConfiguration({ argv, env: {}, cwd: '/', readFile: () => undefined });
  backend = makeMemoryLog({}).open();
  admin = await backend.openAdmin();
  await makeTopics([
    ['fraud.state', 2],
    ['pay.eu', 2],
    [LONG, 1],
    [repartitionLogOf('fraud.state', 'pay.eu'), 2],
    [repartitionLogOf('fraud.state', LONG), 1],
    [repartitionLogOf('fraud.state', 'pay.deleted'), 1],
  ]);
});

async function makeTopics(topics: readonly (readonly [string, number])[]): Promise<void> {
  await admin.ensure(topics.map(([name, partitions]) => ({ name, partitions, cleanup: 'delete' as const })));
}

/** As a first-stage task opens its own. */
function openFirstStage(log: LogBackend, topic: string, partition: number): Promise<EpochLog> {
  const name = cardRepartitionName('fraud-detection', topic);
  return log.openEpochLog({
    taskId: taskIdOf(name, partition),
    ownerId: ownerIdOf(name, 1, partition),
    stateLog: { topic: repartitionLogOf('fraud.state', topic), partition },
  });
}

const commit = (log: EpochLog) => log.commit({ outputs: [], stateLog: [Buffer.from('epoch')] });

async function sealDetection(by: typeof seal | null): Promise<void> {
  for (const partition of [0, 1])
    await sealTask(await openTaskLog(backend, 'fraud-detection', generation, partition), by);
}

describe('a first-stage task that slept through a rescale', () => {
  it.each([
    ['pay.eu', 1],
    [LONG, 0],
    ['pay.deleted', 0],
  ])('commits nothing more (%#)', async (topic, partition) => {
    const sleeping = await openFirstStage(boundToGeneration(backend, 'fraud-detection', generation), topic, partition);
    await sleeping.fence();
    await commit(sleeping);
    await sealDetection(seal);
    expect(await fenceFirstStage({ backend, admin, configuration }, generation)).toBe(4);
    await expect(commit(sleeping)).rejects.toMatchObject({ code: 'fenced' });
    await expect(sleeping.fence()).rejects.toMatchObject({ code: 'generation-over' });
  });

  it('goes on where the rescale was taken back', async () => {
    const sleeping = await openFirstStage(boundToGeneration(backend, 'fraud-detection', generation), 'pay.eu', 0);
    await sealDetection(seal);
    await fenceFirstStage({ backend, admin, configuration }, generation);
    await sealDetection(null);
    await sleeping.fence();
    await commit(sleeping);
  });
});

it('a pipeline without a first stage has nothing to fence', async () => {
  const argv = ['--topics-state-log=other.state'];
  const other = loadConfiguration({ argv, env: {}, cwd: '/', readFile: () => undefined });
  expect(await fenceFirstStage({ backend, admin, configuration: other }, generation)).toBe(0);
});
