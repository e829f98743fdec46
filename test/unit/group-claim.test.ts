/** Owns the tests of what a process tells its group: whoever shares its work says the same, everybody else something else. */
import { beforeEach, describe, expect, it } from 'vitest';
import { type Configuration, loadConfiguration } from '../../src/app/configuration/index.js';
import { claimOf, groupOf } from '../../src/app/group-claim.js';
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
