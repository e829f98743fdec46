/**
 * Owns the tests of standbys over the in-memory log: what one holds is what the owner committed, whatever happens to the
 * owner, to the log under it, or to itself; and a task that begins with it goes on as if nothing had happened.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { LogBackend } from '../../../src/stream/ports.js';
import type { StandbyTask } from '../../../src/stream/runtime/standby-task.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { TaskHost } from '../../../src/stream/runtime/task-host.js';
import { decodeResumePoint, RESUME_KEY } from '../../../src/stream/state/stored-form.js';
import { kitPipeline, makeInputs, reference, seeded, TOPICS } from '../kit.js';
import { kitOptions, TaskWorld, track, until } from '../task-world.js';

const UNIT = { topic: TOPICS.source, partition: 0 };
const RESUME = RESUME_KEY.toString('latin1');
type AnyStandby = Pick<StandbyTask<never>, 'run' | 'stop' | 'status'>;

let world: TaskWorld;

beforeEach(async () => {
  world = await TaskWorld.begin();
});

/** What a root's store holds of the task, the resume point apart. */
function stored(root: string) {
  const { entries } = world.disk.directory(`${root}/kit-0`);
  const values = [...(entries ?? [])].filter(([key]) => key !== RESUME).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    resume: decodeResumePoint(entries?.get(RESUME) ?? null),
    values: values.map(([key, value]) => [key, Buffer.from(value).toString('hex')]),
  };
}

function begin(standby: AnyStandby) {
  const ended = standby.run().then(
    () => 'stopped',
    (error: unknown) => error,
  );
  const end = async () => {
    standby.stop();
    return ended;
  };
  return { standby, ended, end };
}

const follows = (standby: AnyStandby, epoch: number) =>
  until(() => standby.status().state === 'following' && standby.status().epoch >= epoch);

describe('a standby', () => {
  it.each([1, 2, 3])('holds in the end exactly what the owner holds (seed %s)', async (seed) => {
    const random = seeded(seed);
    const { standby, end } = begin(world.standby({ hotKeys: 24 + Math.floor(random() * 40) }));
    for (let round = 0; round < 4; round++) {
      await world.write(makeInputs(60 + Math.floor(random() * 80), 90, random));
      // Each round has another owner: the standby does not notice.
      await world.runToEnd();
    }
    const owners = stored('state');
    expect(owners.values.length).toBeGreaterThan(40);
    await follows(standby, owners.resume?.epoch ?? 0);
    const status = standby.status();
    expect(status.endOffset - status.stateLogOffset).toBe(0);
    expect(await end()).toBe('stopped');
    const standbys = stored('elsewhere');
    expect(standbys.values).toEqual(owners.values);
    // An epoch that changed nothing need not be in the stored resume point.
    expect(standbys.resume?.epoch).toBeGreaterThan(0);
    expect(standbys.resume?.epoch).toBeLessThanOrEqual(owners.resume?.epoch ?? 0);
    expect(world.disk.directory('elsewhere/kit-0').entries?.size).toBe(owners.values.length + 1);
  });

  it('fences nobody: the owner commits on, and no checkpoint is its', async () => {
    const task = world.task({ checkpoint: { ...kitOptions.checkpoint, intervalMs: 3_600_000 } });
    const running = track(task.run());
    const { standby, end } = begin(world.standby());
    await world.write(makeInputs(200, 30, seeded(7)));
    const sourceEnd = await world.sourceEnd();
    await until(() => task.status().committedOffset >= sourceEnd);
    await follows(standby, task.status().epoch);
    await end();
    expect([running.ended, task.status().recoveries]).toEqual([null, 0]);
    expect(await world.snapshots.list('kit-0')).toEqual([]);
    task.stop();
    await running.promise;
  });

  it('never holds what was not committed', async () => {
    const task = world.task();
    const running = track(task.run());
    const { standby, end } = begin(world.standby());
    await world.write(makeInputs(50, 10, seeded(8)));
    await until(() => task.status().epoch >= 0 && standby.status().epoch === task.status().epoch);
    const release = world.log.faults.holdCommits();
    await world.write(makeInputs(50, 10, seeded(9)));
    await new Promise((resolve) => setTimeout(resolve, 30));
    const { epoch } = task.status();
    await end();
    expect(stored('elsewhere').resume?.epoch).toBeLessThanOrEqual(epoch);
    release();
    task.stop();
    await running.promise;
  });

  it('begins with the newest checkpoint where the log no longer reaches back to what it has', async () => {
    await world.write(makeInputs(80, 40, seeded(4)));
    await world.runToEnd();
    const first = begin(world.standby());
    await follows(first.standby, 0);
    await first.end();
    const before = stored('elsewhere').resume?.stateLogOffset ?? 0;
    const start = async () => (await (await world.log.open().openAdmin()).ranges(TOPICS.log))[0].start;
    const task = world.task();
    const running = track(task.run());
    for (let round = 0; (await start()) <= before; round++) {
      expect(round).toBeLessThan(200);
      await world.write(makeInputs(40, 40, seeded(5 + round)));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    task.stop();
    await running.promise;
    const second = begin(world.standby());
    await follows(second.standby, stored('state').resume?.epoch ?? 0);
    await second.end();
    expect(world.said).toContainEqual(expect.stringContaining('standby of kit-0: state restored from checkpoint'));
    expect(stored('elsewhere').values).toEqual(stored('state').values);
  });

  it('stops while it is being built, and goes on from there the next time', async () => {
    await world.write(makeInputs(400, 60, seeded(6)));
    await world.runToEnd({ checkpoint: { ...kitOptions.checkpoint, intervalMs: 3_600_000 } });
    const first = begin(world.standby());
    await until(() => (world.disk.directory('elsewhere/kit-0').entries?.size ?? 0) > 5);
    expect(await first.end()).toBe('stopped');
    const second = begin(world.standby());
    await follows(second.standby, stored('state').resume?.epoch ?? 0);
    await second.end();
    expect(stored('elsewhere').values).toEqual(stored('state').values);
  });

  it('waits for the last commit of an owner that was here to become visible', async () => {
    await world.write(makeInputs(80, 40, seeded(14)));
    await world.runToEnd();
    const { epoch = -1, stateLogOffset } = stored('state').resume ?? {};
    const log = world.log.open();
    let end = (stateLogOffset ?? 0) - 1;
    const behind: LogBackend = {
      ...log,
      openEpochLog: async (place) => {
        const opened = await log.openEpochLog(place);
        const stateLogRange = async () => {
          const range = await opened.stateLogRange();
          return { ...range, end: Math.min(range.end, end) };
        };
        return Object.assign(Object.create(opened), { stateLogRange });
      },
    };
    const { standby, end: stop } = begin(world.standby({ stateDirectory: 'state' }, true, behind));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(standby.status().state).toBe('restoring');
    end = Number.POSITIVE_INFINITY;
    await follows(standby, epoch);
    expect(await stop()).toBe('stopped');
  });

  it('that has failed by its store says so', async () => {
    await world.write(makeInputs(50, 30, seeded(10)));
    await world.runToEnd();
    world.storeFault = (operation, directory) => {
      if (operation === 'writeBatch' && directory.startsWith('elsewhere')) throw new Error('no space left on device');
    };
    const { standby, ended } = begin(world.standby());
    expect(await ended).toMatchObject({ message: 'no space left on device' });
    expect(standby.status()).toMatchObject({ state: 'failed', error: { message: 'no space left on device' } });
  });
});

describe('a standby in a host', () => {
  let fatal: unknown[];

  function host(): TaskHost {
    fatal = [];
    return new TaskHost({
      makeTask: (_unit, trustsStore) => world.task({ stateDirectory: 'elsewhere' }, { trustsStore }),
      makeStandby: (_unit, trustsStore) => world.standby({}, trustsStore),
      clock: systemClock,
      onFatal: (one) => fatal.push(one),
      say: (_level, message) => world.said.push(message),
    });
  }
  const active = { active: [UNIT], standby: [] };
  const standby = { active: [], standby: [UNIT] };
  const nothing = { active: [], standby: [] };

  it('is promoted in the midst of the stream, twice, and the outputs are as if one had done it all', async () => {
    const [random, inputs] = [seeded(11), [] as ReturnType<typeof makeInputs>];
    const here = host();
    const feed = async () => {
      const more = makeInputs(150, 50, random);
      inputs.push(...more);
      await world.write(more);
    };
    for (let promotion = 0; promotion < 2; promotion++) {
      // Elsewhere somebody else owns it; this host keeps it warm meanwhile.
      const elsewhere = world.task();
      const running = track(elsewhere.run());
      await here.own(standby);
      await feed();
      await until(() => here.standbyStatuses()[0]?.state === 'following' && elsewhere.status().epoch > 0);
      await feed();
      // Mid-stream: the owner is not told, it is fenced.
      await here.own(active);
      await until(() => running.ended !== null || here.statuses()[0]?.state === 'running');
      elsewhere.stop();
      await running.promise;
      const end = await world.sourceEnd();
      await until(() => (here.statuses()[0]?.committedOffset ?? 0) >= end);
      expect(world.said.filter((line) => line.includes('built again'))).toEqual([]);
    }
    await here.own(nothing);
    expect(fatal).toEqual([]);
    const wanted = reference(inputs, kitPipeline().outOfOrdernessMs);
    expect(world.outputs(TOPICS.out)).toEqual(wanted.out);
  });

  it('replays next to nothing when it takes over', async () => {
    const here = host();
    await here.own(standby);
    await world.write(makeInputs(600, 50, seeded(12)));
    await world.runToEnd({ checkpoint: { ...kitOptions.checkpoint, intervalMs: 3_600_000 } });
    const { epoch } = stored('state').resume ?? { epoch: 0 };
    await until(() => (here.standbyStatuses()[0]?.epoch ?? -1) >= epoch);
    await here.own(active);
    await until(() => here.statuses()[0]?.state === 'running');
    // A task that found nothing to replay says nothing of a recovery.
    expect(world.said.filter((line) => line.includes('recovered to epoch'))).toEqual([]);
    expect(epoch).toBeGreaterThan(10);
    await here.own(nothing);
  });

  it('goes on by itself after an error under it, and nobody is told to stop', async () => {
    await world.write(makeInputs(100, 50, seeded(13)));
    await world.runToEnd();
    let failures = 1;
    world.storeFault = (operation, directory) => {
      if (operation === 'getMany' && directory.startsWith('elsewhere') && failures-- > 0) throw new Error('bad block');
    };
    const here = host();
    await here.own(standby);
    await until(() => here.standbyStatuses()[0]?.state === 'following');
    await here.own(nothing);
    expect(fatal).toEqual([]);
    expect(world.said).toContainEqual('the standby of kit-0 failed (unexpected: bad block); starting it again');
    expect(stored('elsewhere').values).toEqual(stored('state').values);
  });
});
