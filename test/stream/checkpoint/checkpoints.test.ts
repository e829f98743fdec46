/** Owns the tests of checkpoints: when they are taken, when they count, and what may be forgotten behind them. */
import { beforeEach, describe, expect, it } from 'vitest';
import { type CheckpointOptions, Checkpoints } from '../../../src/stream/checkpoint/checkpoints.js';
import type { TaskStore } from '../../../src/stream/checkpoint/task-store.js';
import { StateLogDecoder } from '../../../src/stream/epoch/delta.js';
import type { EpochLog } from '../../../src/stream/ports.js';
import { FRESH_START, type ResumePoint } from '../../../src/stream/state/stored-form.js';
import { HandClock } from '../../unit/hand-clock.js';

const OPTIONS: CheckpointOptions = {
  intervalMs: 1000,
  minPauseMs: 0,
  timeoutMs: 500,
  retained: 2,
  truncateLog: true,
};
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A snapshot store and a log that note what is asked of them; the upload does what a test says. */
class Surroundings {
  readonly clock = new HandClock(1_000_000);
  readonly steps: string[] = [];
  readonly problems: string[] = [];
  readonly kept: string[] = [];
  truncated = 0;
  upload: () => Promise<void> = async () => {};
  truncation: () => Promise<void> = async () => {};
  readonly storage = {
    taskId: 'cards-0',
    scratchDirectory: 'scratch',
    disk: {
      make: async () => {},
      remove: async () => {},
    },
    store: {
      snapshot: async () => {
        this.steps.push('snapshot');
      },
    },
    snapshots: {
      put: async (_task: string, id: string) => {
        await this.upload();
        this.steps.push('uploaded');
        this.kept.push(id);
        return { sizeBytes: 77, newBytes: 7 };
      },
      list: async () => [...this.kept].sort(),
      delete: async (_task: string, id: string) => {
        this.kept.splice(this.kept.indexOf(id), 1);
      },
    },
  } as unknown as TaskStore;
  readonly epochLog = {
    maxRecordBytes: 10_000,
    truncateStateLog: async (offset: number) => {
      await this.truncation();
      this.truncated = offset;
    },
  } as unknown as EpochLog;

  checkpoints(options: Partial<CheckpointOptions> = {}): Checkpoints {
    return new Checkpoints(this.storage, this.epochLog, this.clock, { ...OPTIONS, ...options }, (message) =>
      this.problems.push(message),
    );
  }
}

const at = (epoch: number): ResumePoint => ({ ...FRESH_START, epoch, stateLogOffset: epoch * 10, sourceOffset: epoch });

let around: Surroundings;
let checkpoints: Checkpoints;

beforeEach(() => {
  around = new Surroundings();
  checkpoints = around.checkpoints();
});

/** Lets the interval pass and takes one checkpoint to its end. */
async function complete(epoch: number, which = checkpoints): Promise<void> {
  around.clock.advance(1000);
  which.startIfDue(at(epoch));
  await settle();
  expect(which.recordsFor(epoch + 5).length).toBeGreaterThan(0);
  await which.committed();
}

describe('a checkpoint is taken', () => {
  it('once the interval has passed, and one at a time', async () => {
    around.clock.advance(999);
    checkpoints.startIfDue(at(3));
    await settle();
    expect(around.steps).toEqual([]);
    around.clock.advance(1);
    checkpoints.startIfDue(at(3));
    checkpoints.startIfDue(at(3));
    await settle();
    expect(around.steps).toEqual(['snapshot', 'uploaded']);
    around.clock.advance(5000);
    checkpoints.startIfDue(at(9));
    await settle();
    expect(around.steps).toHaveLength(2); // the first one's pointer still waits
  });

  it('no sooner than the pause after the end of the one before', async () => {
    let finish = () => {};
    around.upload = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    checkpoints = around.checkpoints({ minPauseMs: 300, timeoutMs: 10_000 });
    around.clock.advance(1000);
    checkpoints.startIfDue(at(1));
    await settle();
    around.clock.advance(1900);
    finish();
    await settle();
    checkpoints.recordsFor(2);
    await checkpoints.committed();
    around.clock.advance(299);
    checkpoints.startIfDue(at(2));
    await settle();
    expect(around.steps).toHaveLength(2);
    around.clock.advance(1);
    checkpoints.startIfDue(at(2));
    await settle();
    expect(around.steps).toHaveLength(3);
  });

  it('not of a store that holds nothing, nor twice of the same', async () => {
    around.clock.advance(1000);
    checkpoints.startIfDue(FRESH_START);
    await settle();
    expect(around.steps).toEqual([]);
    await complete(4);
    around.clock.advance(1000);
    checkpoints.startIfDue(at(4));
    await settle();
    expect(around.steps).toEqual(['snapshot', 'uploaded']);
  });
});

describe('a checkpoint is complete', () => {
  it('only when the epoch that carries its pointer has committed, and that after the upload', async () => {
    let finish = () => {};
    around.upload = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    around.clock.advance(1000);
    checkpoints.startIfDue(at(3));
    await settle();
    expect([checkpoints.pointerWaits, checkpoints.recordsFor(4)]).toEqual([false, []]);
    await checkpoints.committed();
    expect(checkpoints.figures.id).toBeNull();
    around.clock.advance(40);
    finish();
    await settle();
    expect(checkpoints.pointerWaits).toBe(true);
    const [record] = checkpoints.recordsFor(5);
    expect(checkpoints.recordsFor(6)).toEqual([]);
    const id = around.kept[0];
    expect(new StateLogDecoder().push(record, 0)).toEqual({
      kind: 'pointer',
      pointer: { snapshotId: id, completedAtMs: 1_001_040, resume: at(3) },
    });
    expect(checkpoints.figures.id).toBeNull();
    around.clock.advance(10);
    await checkpoints.committed();
    expect(checkpoints.figures).toMatchObject({
      id,
      completedAt: 1_001_040,
      durationMs: 50,
      sizeBytes: 77,
      failures: 0,
    });
    expect(around.problems).toEqual([]);
  });

  it('and says so when it took over 30 % of the interval', async () => {
    around.upload = async () => around.clock.advance(301);
    await complete(3);
    expect(around.problems).toEqual([expect.stringMatching(/took 301 ms, over 30 % of the interval/)]);
  });
});

describe('a checkpoint that fails', () => {
  it('is counted, said, and tried again after the interval', async () => {
    around.upload = () => Promise.reject(new Error('no such bucket'));
    around.clock.advance(1000);
    checkpoints.startIfDue(at(3));
    await settle();
    expect(checkpoints.figures).toMatchObject({ failures: 1, lastFailure: 'no such bucket', id: null });
    expect(around.problems).toEqual([expect.stringMatching(/checkpoint chk-000000000003-\d+ failed: no such bucket/)]);
    expect(checkpoints.pointerWaits).toBe(false);
    around.upload = async () => {};
    checkpoints.startIfDue(at(3));
    await settle();
    expect(checkpoints.pointerWaits).toBe(false);
    await complete(3);
    expect(checkpoints.figures.id).toMatch(/^chk-000000000003-/);
  });

  it('by taking too long is counted at once, does not hold up a stop, and never counts as complete', async () => {
    let finish = () => {};
    around.upload = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    around.clock.advance(1000);
    checkpoints.startIfDue(at(3));
    await settle();
    let idle = false;
    void checkpoints.idle().then(() => {
      idle = true;
    });
    around.clock.advance(499);
    await settle();
    expect([checkpoints.figures.failures, idle]).toEqual([0, false]);
    around.clock.advance(1);
    await settle();
    expect([checkpoints.figures.failures, idle]).toEqual([1, true]);
    expect(around.problems).toEqual([expect.stringContaining('it took longer than 500 ms')]);
    around.clock.advance(5000);
    checkpoints.startIfDue(at(9));
    await settle();
    expect(around.steps).toEqual(['snapshot']); // its work still uses the scratch directory
    finish();
    await settle();
    expect([checkpoints.pointerWaits, checkpoints.figures.failures]).toEqual([false, 1]);
    around.upload = async () => {};
    await complete(9);
    expect(checkpoints.figures.id).toMatch(/^chk-000000000009-/);
  });
});

describe('behind checkpoints', () => {
  it('the log goes up to the resume point of the oldest one kept, and older snapshots go', async () => {
    await complete(3);
    expect([around.truncated, around.kept.length]).toEqual([0, 1]);
    await complete(7);
    expect(around.truncated).toBe(30);
    await complete(12);
    expect(around.truncated).toBe(70);
    expect(around.kept.map((id) => id.slice(0, 16))).toEqual(['chk-000000000007', 'chk-000000000012']);
  });

  it('nothing is forgotten after a restart until as many new ones as are kept are complete', async () => {
    await complete(3);
    await complete(7);
    const restarted = around.checkpoints();
    await complete(20, restarted);
    expect([around.truncated, around.kept.length]).toEqual([30, 3]);
    await complete(25, restarted);
    expect([around.truncated, around.kept.length]).toEqual([200, 2]);
  });

  it('snapshots of a later owner stay, whoever is told to forget', async () => {
    around.kept.push('chk-000000000900-1');
    await complete(3);
    await complete(7);
    await complete(12);
    expect(around.kept).toContain('chk-000000000900-1');
  });

  it('the log stays whole where other owners may not reach the snapshots', async () => {
    checkpoints = around.checkpoints({ truncateLog: false });
    for (const epoch of [3, 7, 12]) await complete(epoch);
    expect([around.truncated, around.kept.length]).toEqual([0, 2]);
  });

  it('a log that cannot be truncated is said, and the next checkpoint tries again', async () => {
    await complete(3);
    around.truncation = () => Promise.reject(new Error('not the leader'));
    await complete(7);
    expect(around.problems).toEqual([expect.stringMatching(/truncating behind the checkpoint failed: not the leader/)]);
    expect(around.kept).toHaveLength(2);
    around.truncation = async () => {};
    await complete(12);
    expect(around.truncated).toBe(70);
  });

  it('a stop waits for the truncation under way', async () => {
    await complete(3);
    let finish = () => {};
    around.truncation = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    around.clock.advance(1000);
    checkpoints.startIfDue(at(7));
    await settle();
    checkpoints.recordsFor(8);
    void checkpoints.committed();
    let idle = false;
    void checkpoints.idle().then(() => {
      idle = true;
    });
    await settle();
    expect(idle).toBe(false);
    finish();
    await settle();
    expect(idle).toBe(true);
  });
});
