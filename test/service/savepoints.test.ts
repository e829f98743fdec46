/** Savepoints as operators use them: taken, listed, verified, deleted, begun from; and what is refused. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTopic } from '../../scripts/prove/outputs.js';
import { generationFromSavepoint, savepointAddress } from '../../src/app/from-savepoint.js';
import { findGeneration } from '../../src/app/generation.js';
import { rescale } from '../../src/app/rescale.js';
import { runCommandLine } from '../../src/cli/main.js';
import { openCommandBackend } from '../../src/cli/open-backend.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import type { TopicAdmin } from '../../src/stream/ports.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { configurationOf, paymentsInPieces, RescaleWorld } from './rescale-world.js';

const directory = mkdtempSync(path.join(tmpdir(), 'savepoints-'));
const dataDir = path.join(directory, 'data');
const flags = [`--data-dir=${dataDir}`, '--partitions=2'];

async function fraud(...words: readonly string[]) {
  const said: string[] = [];
  const surroundings = {
    env: {},
    cwd: directory,
    clock: systemClock,
    signal: new AbortController().signal,
    print: (line: string) => said.push(line),
    tell: (line: string) => said.push(line),
    screen: null,
    columns: 100,
    readFile: () => undefined,
    openBackend: openCommandBackend,
  };
  const code = await runCommandLine([...words, ...flags], surroundings, '0');
  return { code, said: said.join('\n') };
}

/** The same admin, with some calls replaced. */
const adminWith = (admin: TopicAdmin, calls: Partial<TopicAdmin>): TopicAdmin =>
  new Proxy(admin, {
    get: (target, name: keyof TopicAdmin) => calls[name] ?? (target[name] as () => unknown).bind(target),
  });

describe('savepoints', () => {
  const pieces = paymentsInPieces(900, 2);
  let world: RescaleWorld;

  beforeAll(async () => {
    world = await RescaleWorld.open(flags);
    await world.prepare();
    await world.pay(pieces[0]);
    await world.run();
  });

  afterAll(async () => {
    await world.close();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  const alertIds = async () =>
    (await readTopic(world.backend, 'fraud.alerts')).map(({ value }) => (JSON.parse(String(value)) as Alert).alertId);

  it('are taken under a name of their own or a given one, listed, and verified', async () => {
    const named = await fraud('savepoint', 'create', 'kept');
    expect(named).toMatchObject({
      code: 0,
      said: expect.stringMatching(/savepoint kept in .*savepoints: \d+ keys, .* MiB, in /),
    });
    expect(named.said).toMatch(/fraud-detection-1: payments\.raw\/1 epoch \d+, offset \d+, \d+ keys/);
    expect((await fraud('savepoint', 'create')).said).toMatch(/savepoint fraud-detection-g1-\d{8}T\d{9}Z in /);
    const list = await fraud('savepoint', 'list');
    expect(list.said).toMatch(
      /^kept {2}\S+ {2}fraud-detection version 1, generation 1, 2 tasks, card state version \d+, \d+ keys/m,
    );
    expect(list.said).toMatch(/^2 savepoints in /m);
    expect(await fraud('savepoint', 'verify', 'kept')).toMatchObject({
      code: 0,
      said: expect.stringContaining('savepoint kept is whole'),
    });
    expect(await fraud('savepoint', 'create', 'kept')).toMatchObject({
      code: 1,
      said: expect.stringContaining('(savepoint-exists)'),
    });
    expect(await fraud('savepoint', 'create', '../kept')).toMatchObject({
      code: 1,
      said: expect.stringContaining('(savepoint-name)'),
    });
  });

  it('say which file is bad, and are deleted only when that is meant', async () => {
    await fraud('savepoint', 'create', 'spoilt');
    const parts = path.join(dataDir, 'savepoints/spoilt/parts');
    const [part] = readdirSync(parts);
    writeFileSync(path.join(parts, part), 'nothing');
    const bad = await fraud('savepoint', 'verify', 'spoilt');
    expect(bad).toMatchObject({ code: 1, said: expect.stringContaining(`bad: spoilt/parts/${part}`) });
    expect(await fraud('savepoint', 'delete', 'spoilt')).toMatchObject({
      code: 2,
      said: expect.stringContaining('--yes'),
    });
    expect(await fraud('savepoint', 'delete', 'spoilt', '--yes')).toMatchObject({ code: 0 });
    expect(await fraud('savepoint', 'verify', 'spoilt')).toMatchObject({
      code: 1,
      said: expect.stringContaining('(savepoint-missing)'),
    });
  });

  it('are begun from once: state and offsets are those of then, and alerts since come again under the same ids', async () => {
    const before = await alertIds();
    await world.pay(pieces[1]);
    await world.run();
    const since = (await alertIds()).filter((id) => !before.includes(id));
    const cards = (await world.outcome('as-it-was')).cards;
    expect(since.length).toBeGreaterThan(3);

    expect(await generationFromSavepoint(world.parts, 'kept')).toMatchObject({
      number: 2,
      seededFrom: 'kept',
      partitions: 2,
    });
    await world.run();
    const again = (await alertIds()).slice();
    expect(again.filter((id) => since.includes(id)).sort()).toEqual([...since, ...since].sort());
    expect((await world.outcome('as-it-is')).cards).toEqual(cards);

    expect(await generationFromSavepoint(world.parts, 'kept')).toMatchObject({ number: 2 });
    await rescale(world.parts, { partitions: 3, source: null, force: false });
    expect(await generationFromSavepoint(world.parts, 'kept'), 'a unit file that keeps the flag').toMatchObject({
      number: 3,
      partitions: 3,
    });
    expect(world.work.progress.join('\n')).toContain(
      'savepoint kept is what generation 2 began with: going on with generation 3',
    );
  });

  it('are refused where they do not fit, before anything is touched', async () => {
    const place = path.join(dataDir, 'savepoints', 'as-it-was');
    const begin = (...more: readonly string[]) => {
      const configuration = configurationOf([...flags, ...more]);
      return generationFromSavepoint({ ...world.parts, configuration }, place);
    };
    await expect(begin('--pipeline-name=another')).rejects.toMatchObject({
      code: 'savepoint-foreign',
      message: expect.stringContaining('--allow-other-pipeline'),
    });
    await expect(generationFromSavepoint(world.parts, 'nowhere')).rejects.toMatchObject({ code: 'savepoint-missing' });
    const elsewhere = await RescaleWorld.open([`--data-dir=${path.join(directory, 'elsewhere')}`, '--partitions=2']);
    try {
      await elsewhere.prepare();
      await expect(generationFromSavepoint(elsewhere.parts, place)).rejects.toMatchObject({
        code: 'savepoint-source',
        message: expect.stringContaining('--savepoint-offsets start'),
      });
      expect(await elsewhere.generation()).toMatchObject({ number: 1 });
      const configuration = configurationOf([
        `--data-dir=${path.join(directory, 'elsewhere')}`,
        '--savepoint-offsets=start',
      ]);
      expect(await generationFromSavepoint({ ...elsewhere.parts, configuration }, place)).toMatchObject({ number: 2 });
      expect((await elsewhere.outcome('moved')).cards.size).toBeGreaterThan(100);
    } finally {
      await elsewhere.close();
    }
    expect(await world.generation()).toMatchObject({ number: 3 });
  });

  it('that are bad end no pipeline: it is not sealed, or opened again where that shows late', async () => {
    const spoil = (name: string) => {
      const parts = path.join(dataDir, 'savepoints', name, 'parts');
      for (const part of readdirSync(parts)) writeFileSync(path.join(parts, part), 'nothing');
    };
    const untouched = { current: { number: 3 }, pending: null };
    await fraud('savepoint', 'create', 'bad');
    const live = adminWith(world.admin, { groupMembers: async () => ['somebody'] });
    await expect(generationFromSavepoint({ ...world.parts, admin: live }, 'bad')).rejects.toMatchObject({
      code: 'pipeline-live',
      message: expect.stringContaining('1 process in group'),
    });
    spoil('bad');
    await expect(generationFromSavepoint(world.parts, 'bad')).rejects.toMatchObject({
      code: 'corrupt-data',
      message: expect.stringMatching(/nothing was begun from it: .*bad\/parts/),
    });
    expect(await findGeneration(world.parts)).toMatchObject(untouched);

    await fraud('savepoint', 'create', 'worse');
    const late = adminWith(world.admin, {
      ensure: (specs) => {
        if (specs.some(({ name }) => name === 'fraud.state-g4')) spoil('worse');
        return world.admin.ensure(specs);
      },
    });
    await expect(generationFromSavepoint({ ...world.parts, admin: late }, 'worse')).rejects.toMatchObject({
      code: 'corrupt-data',
      message: expect.stringContaining('Generation 3 goes on as it was'),
    });
    expect(await findGeneration(world.parts)).toMatchObject(untouched);
    expect(await world.admin.partitionCount('fraud.state-g4')).toBe(null);
    await world.run();
  });

  it.each([
    ['kept', { place: path.join(dataDir, 'savepoints'), name: 'kept' }],
    ['./copies/kept/', { place: '/here/copies', name: 'kept' }],
    ['/mnt/copies/kept', { place: '/mnt/copies', name: 'kept' }],
    ['s3://bucket/prefix/kept', { place: 's3://bucket/prefix', name: 'kept' }],
  ])('are named alone or with their place: %s', (given, address) => {
    expect(savepointAddress(given, configurationOf(flags), '/here')).toEqual(address);
  });
});
