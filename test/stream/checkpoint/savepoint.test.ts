/** Owns the tests of task images and savepoints: they hold exactly what they say, or are refused by name. */
import { beforeEach, describe, expect, it } from 'vitest';
import { manifestName } from '../../../src/stream/checkpoint/savepoint-manifest.js';
import { StoppedError } from '../../../src/stream/epoch/replay.js';
import { STATE_PREFIX } from '../../../src/stream/state/stored-form.js';
import type { Input } from '../kit.js';
import { pause, track, until } from '../task-world.js';
import { cardsAfter, type Generation, Generations } from './generations.js';

const payments = (count: number, cards: number, from = 0): Input[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `card-${((from + i) * 7) % cards}`,
    value: (from + i) % 10,
    at: 1_000_000 + from + i,
  }));

let world: Generations;
let first: Generation;
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as Error & { code: string },
  );

describe('a savepoint of a task under way', () => {
  it('holds exactly the state at its resume point, of whichever moment, while the task goes on', async () => {
    world = new Generations();
    first = await world.make(1, 1);
    const all = payments(1600, 40);
    const task = world.task(first, 0);
    const running = track(task.run());
    const moments: number[] = [];
    const feeding = (async () => {
      for (let from = 0; from < all.length; from += 40) {
        await world.write(first, all.slice(from, from + 40));
        await pause(8);
      }
    })();
    for (let part = 0; part < 8; part++) {
      await pause(35);
      await world.save(first, `moment-${part}`);
    }
    await feeding;
    await until(() => task.status().committedOffset >= all.length);
    expect(running.ended).toBeNull(); // nobody took it over
    task.stop();
    await running.promise;
    for (let part = 0; part < 8; part++) {
      const { manifest } = await world.savepoints.read(`moment-${part}`);
      const { resume, keys } = manifest.tasks[0];
      const truth = cardsAfter(all.slice(0, resume.sourceOffset ?? 0));
      expect(await world.savedCards(first, `moment-${part}`, 0)).toEqual(truth);
      expect(keys).toBe(truth.size);
      moments.push(resume.sourceOffset ?? 0);
    }
    expect(moments).toEqual([...moments].sort((a, b) => a - b));
    expect(new Set(moments).size).toBeGreaterThan(3);
    // The log was truncated meanwhile: images began from checkpoints.
    expect((await (await world.openEpochLog(first, 0)).stateLogRange()).start).toBeGreaterThan(0);
    expect(world.said.join('\n')).toContain('state restored from checkpoint');
  });
});

describe('a task image', () => {
  it('of a task that never ran is empty, and leaves nothing behind', async () => {
    world = new Generations();
    first = await world.make(1, 1);
    const image = await world.openImage(first, 0);
    expect(image).toMatchObject({ taskId: 'kit-0', resume: { epoch: -1, sourceOffset: null }, seal: null });
    await image.close();
    expect(world.disk.directory('images/kit-0').entries).toBeNull();
  });

  it('begins anew whatever an earlier one left in its directory', async () => {
    world = new Generations();
    first = await world.make(1, 1);
    await world.write(first, payments(50, 9));
    await world.runToEnd(first);
    const left = await world.openImage(first, 0);
    const ghost = Buffer.concat([STATE_PREFIX, Buffer.from('ghost')]);
    const [one] = await left.store.getMany([Buffer.concat([STATE_PREFIX, Buffer.from('card-1')])]);
    await left.store.writeBatch([{ key: ghost, value: one }]);
    world.disk.crash();
    const image = await world.openImage(first, 0);
    const keys: string[] = [];
    for await (const { key } of image.store.scan(STATE_PREFIX)) keys.push(Buffer.from(key.subarray(1)).toString());
    expect(keys.sort()).toEqual([...cardsAfter(payments(50, 9)).keys()].sort());
    await image.close();
  });

  it('tells of a seal', async () => {
    world = new Generations();
    first = await world.make(1, 1);
    await world.seal(first, await world.make(2, 3), 'to-g2');
    const image = await world.openImage(first, 0);
    expect(image.seal).toMatchObject({ generation: 2, savepoint: 'to-g2' });
    await image.close();
  });
});

describe('savepoints', () => {
  const all = payments(300, 60);

  beforeEach(async () => {
    world = new Generations();
    first = await world.make(1, 3);
    await world.write(first, all);
    await world.runToEnd(first);
    await world.save(first, 'monday');
  });

  it('are listed with what they are, unfinished and unreadable ones too', async () => {
    await world.save(first, 'tuesday');
    await world.save(first, 'wednesday');
    world.objects.spoil(manifestName('tuesday'), null);
    world.objects.spoil(manifestName('wednesday'), Buffer.from('{"format":'));
    const files = world.objects.names.filter((name) => name.startsWith('tuesday/')).length;
    expect(await world.savepoints.list()).toEqual([
      expect.objectContaining({
        state: 'whole',
        name: 'monday',
        pipeline: 'kit',
        generation: 1,
        partitions: 3,
        layout: { name: 'kit', version: 1 },
        keys: cardsAfter(all).size,
      }),
      { state: 'unfinished', name: 'tuesday', files },
      { state: 'corrupt', name: 'wednesday', problem: expect.stringContaining('wednesday/manifest.json in memory') },
    ]);
  });

  it('say where every task was, and keep all of its keys', async () => {
    const { manifest } = await world.savepoints.read('monday');
    const saved = new Map<string, unknown>();
    for (const { partition, resume, taskId } of manifest.tasks) {
      expect(taskId).toBe(`kit-${partition}`);
      expect(resume.sourceOffset).toBe(world.log.records(first.source).filter((r) => r.partition === partition).length);
      for (const [key, card] of await world.savedCards(first, 'monday', partition)) saved.set(key, card);
    }
    expect(saved).toEqual(cardsAfter(all));
    expect(await world.savepoints.verify('monday')).toMatchObject({ isWhole: true, unknown: [] });
  });

  it('of which a file is damaged, cut, changed for another or missing say which and where', async () => {
    const { manifest } = await world.savepoints.read('monday');
    const [part, other] = manifest.tasks[1].parts;
    const whole = await world.objects.get(part.name);
    const bytes = whole ?? Buffer.alloc(0);
    const turned = Buffer.from(bytes);
    turned[turned.length >> 1] ^= 4;
    for (const [spoilt, what] of [
      [null, /is missing/],
      [turned, /does not match its checksum/],
      [bytes.subarray(0, -1), /has \d+ bytes instead of \d+/],
      [await world.objects.get(other.name), /bytes instead of|does not match/],
    ] as const) {
      world.objects.spoil(part.name, spoilt);
      const check = await world.savepoints.verify('monday');
      expect(check.isWhole).toBe(false);
      const bad = check.parts.filter(({ problem }) => problem !== null);
      expect(bad).toEqual([expect.objectContaining({ name: part.name, taskId: 'kit-1' })]);
      expect(bad[0].problem).toMatch(what);
      expect(bad[0].problem).toContain(`${part.name} in memory`);
      const next = await world.make(2, 2);
      const failure = await failureOf(world.seed(next, 'monday'));
      expect(failure).toMatchObject({ code: 'corrupt-data', message: expect.stringContaining(part.name) });
      expect(world.log.records(next.stateLog)).toEqual([]);
    }
  });

  it('of which the manifest was changed are refused, be it one digit', async () => {
    const bytes = (await world.objects.get(manifestName('monday'))) ?? Buffer.alloc(0);
    const text = bytes.toString();
    for (const changed of [
      text.replace(/"sourceOffset": (\d+)/, '"sourceOffset": 1$1'),
      text.replace('"monday"', '"sunday"'),
      text.replace('savepoint-1', 'savepoint-9'),
      text.slice(0, 100),
    ]) {
      world.objects.spoil(manifestName('monday'), Buffer.from(changed));
      const failure = await failureOf(world.savepoints.read('monday'));
      expect(failure).toMatchObject({ code: 'corrupt-data', message: expect.stringContaining('monday/manifest.json') });
    }
  });

  it('under a name that is taken are refused, and what is there stays', async () => {
    await world.write(first, payments(100, 60, 300));
    await world.runToEnd(first);
    const before = await world.objects.get(manifestName('monday'));
    expect(await failureOf(world.save(first, 'monday'))).toMatchObject({ code: 'savepoint-exists' });
    const replacing = world.save(first, 'monday', { replaceUnfinished: true });
    expect(await failureOf(replacing)).toMatchObject({ code: 'savepoint-exists' });
    expect(await world.objects.get(manifestName('monday'))).toEqual(before);
    expect((await world.savepoints.verify('monday')).isWhole).toBe(true);
  });

  it('made twice at once under one name are whole, whichever of the two stays', async () => {
    await world.save(first, 'tuesday', { attempt: 'one' });
    const manifestOfOne = (await world.objects.get(manifestName('tuesday'))) ?? Buffer.alloc(0);
    await world.write(first, payments(100, 60, 300));
    await world.runToEnd(first);
    // The other looked whether the name is free before the first had put anything.
    const objects: typeof world.objects = Object.create(world.objects, { list: { value: async () => [] } });
    await world.save(first, 'tuesday', { attempt: 'two', objects });
    expect((await world.savepoints.verify('tuesday')).isWhole).toBe(true);
    await world.objects.put(manifestName('tuesday'), manifestOfOne);
    expect((await world.savepoints.verify('tuesday')).isWhole).toBe(true);
  });

  it('cut short are unfinished: nobody reads them, and they are made anew only if that is asked for', async () => {
    let puts = 0;
    world.objects.beforePut = () => {
      if (++puts === 4) throw new Error('the line is down');
    };
    await expect(world.save(first, 'tuesday')).rejects.toThrow('the line is down');
    world.objects.beforePut = () => {};
    expect(await world.savepoints.list()).toContainEqual({ state: 'unfinished', name: 'tuesday', files: 3 });
    for (const refused of [world.savepoints.read('tuesday'), world.save(first, 'tuesday')]) {
      const failure = await failureOf(refused);
      expect(failure).toMatchObject({ code: 'savepoint-unfinished', message: expect.stringContaining('tuesday') });
    }
    world.objects.spoil('tuesday/parts/kit-9-00000', Buffer.from('left over'));
    await world.save(first, 'tuesday', { replaceUnfinished: true });
    expect(await world.savepoints.verify('tuesday')).toMatchObject({ isWhole: true, unknown: [] });
    expect(world.disk.directory('images/kit-0').entries).toBeNull();
  });

  it('stop when they are asked to, unfinished', async () => {
    let asked = 0;
    await expect(world.save(first, 'tuesday', { shouldStop: () => ++asked > 20 })).rejects.toBeInstanceOf(StoppedError);
    expect(await failureOf(world.savepoints.read('tuesday'))).toMatchObject({ code: 'savepoint-unfinished' });
  });

  it('that are not there, or cannot be, are said to be so', async () => {
    expect(await failureOf(world.savepoints.read('sunday'))).toMatchObject({ code: 'savepoint-missing' });
    expect(await failureOf(world.savepoints.delete('sunday'))).toMatchObject({ code: 'savepoint-missing' });
    for (const name of ['', '../monday', 'a/b', '.hidden', 'x'.repeat(101), 'mon day', 'a..b']) {
      expect(await failureOf(world.save(first, name))).toMatchObject({ code: 'savepoint-name' });
      expect(await failureOf(world.savepoints.delete(name))).toMatchObject({ code: 'savepoint-name' });
    }
  });

  it('are deleted whole, others stay', async () => {
    await world.save(first, 'monday-2');
    await world.savepoints.delete('monday');
    expect((await world.savepoints.list()).map(({ name }) => name)).toEqual(['monday-2']);
    expect((await world.savepoints.verify('monday-2')).isWhole).toBe(true);
  });

  it('of a task that another one deleted half of are no longer there', async () => {
    const { delete: remove } = world.objects;
    let calls = 0;
    world.objects.delete = async (names) => {
      if (++calls === 2) throw new Error('the line is down');
      await remove(names);
    };
    await expect(world.savepoints.delete('monday')).rejects.toThrow('the line is down');
    expect(await failureOf(world.savepoints.read('monday'))).toMatchObject({ code: 'savepoint-unfinished' });
    await world.savepoints.delete('monday');
    expect(world.objects.names).toEqual([]);
  });
});
