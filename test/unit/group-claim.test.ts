/** Owns the tests of what a process tells its group: whoever shares its work says the same, everybody else something else. */
import { beforeEach, describe, expect, it } from 'vitest';
import { type Configuration, loadConfiguration } from '../../src/app/configuration/index.js';
import { stateLogOf } from '../../src/app/generation.js';
import { claimOf, expectNameFree, groupOf } from '../../src/app/group-claim.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';

const configured = (...argv: string[]): Configuration =>
  loadConfiguration({ argv, env: {}, cwd: '/', readFile: () => undefined });

let claim: (configuration: Configuration, generation?: number) => Promise<string>;

beforeEach(async () => {
  const admin = await makeMemoryLog({ logId: 'log' }).open().openAdmin();
  const names = ['fraud.state', 'other.state'];
  await admin.ensure(names.map((name) => ({ name, partitions: 1, cleanup: 'delete' as const })));
  claim = (configuration, generation = 1) => claimOf(configuration, generation, admin);
});

describe('a claim', () => {
  it('is the same for processes that differ in nothing but themselves', async () => {
    const other = configured('--data-dir=/elsewhere', '--http-port=1', '--kafka-client-id=b', '--workers=7');
    expect(await claim(other)).toBe(await claim(configured()));
    expect(await claim(configured())).toBe(
      'pipeline fraud-detection, generation 1, on state log fraud.state (log.0), source payments.raw, progress shown under group fraud-detection',
    );
  });

  it.each([
    '--pipeline-name=another',
    '--topics-state-log=other.state',
    '--topics-payments=others.raw',
    '--kafka-group=another',
  ])('is another with %s', async (flag) => {
    expect(await claim(configured(flag))).not.toBe(await claim(configured()));
  });

  it('is another for each generation', async () => {
    expect(await claim(configured(), 2)).not.toBe(await claim(configured(), 1));
  });
});

it('a group begins with the name of its pipeline, and no other pipeline can have it', () => {
  expect([groupOf('cards', 1), groupOf('cards', 2)]).toEqual(['cards', 'cards.g2']);
  expect(() => configured('--pipeline-name=cards.g2')).toThrow();
});

describe('a start under a name', () => {
  const backend = makeMemoryLog({ logId: 'log' }).open();
  let warned: string[];

  beforeEach(() => {
    warned = [];
  });

  /** Somebody runs a generation of the pipeline of this name that began on `stateLog`. */
  async function runs(generation: number, root: string): Promise<() => Promise<void>> {
    const admin = await backend.openAdmin();
    const stateLog = stateLogOf(root, generation);
    await admin.ensure([stateLog, 'payments.raw'].map((name) => ({ name, partitions: 1, cleanup: 'delete' as const })));
    const assignment = await backend.openAssignment({
      group: groupOf('fraud-detection', generation),
      source: { topics: ['payments.raw'] },
      claim: await claimOf(configured(`--topics-state-log=${stateLog}`), generation, admin),
    });
    await assignment.join({ onAssigned: async () => {}, onLost: async () => {}, onFailed: () => {} });
    return () => assignment.leave();
  }

  const starts = async (generation: number, root: string) =>
    expectNameFree(configured(`--topics-state-log=${root}`), generation, await backend.openAdmin(), (_, text) => {
      warned.push(text);
    });

  it.each([
    { theirs: 1, ours: 3 },
    { theirs: 3, ours: 1 },
  ])('is refused where generation $theirs of another pipeline runs, and this is generation $ours', async (of) => {
    await runs(1, 'our.state').then((leave) => leave());
    const leave = await runs(of.theirs, 'other.state');
    await expect(starts(of.ours, 'our.state')).rejects.toMatchObject({
      code: 'pipeline-name-taken',
      message: expect.stringContaining(`generation ${of.theirs}, on state log ${stateLogOf('other.state', of.theirs)}`),
    });
    await leave();
    await starts(of.ours, 'our.state');
    expect(warned).toEqual([]);
  });

  it('goes on beside members of its own earlier generations, which it tells', async () => {
    const leave = await runs(1, 'our.state');
    await starts(2, 'our.state');
    expect(warned).toEqual([expect.stringContaining('generation 1 still has members in group fraud-detection')]);
    await leave();
  });

  it('leaves members of its own group to the claim', async () => {
    const leave = await runs(2, 'our.state');
    await starts(2, 'our.state');
    expect(warned).toEqual([]);
    await leave();
  });
});
