/** Owns the tests of a worker's tasks: what is tried again, what is given up, and that the newest assignment decides. */
import { beforeEach, describe, expect, it } from 'vitest';
import { StreamError } from '../../../src/stream/errors.js';
import type { StandbyStatus, TaskStatus } from '../../../src/stream/runtime/status.js';
import type { TaskEnd } from '../../../src/stream/runtime/task.js';
import {
  type FatalTask,
  type HostedStandby,
  type HostedTask,
  TaskHost,
} from '../../../src/stream/runtime/task-host.js';
import { HandClock } from '../../unit/hand-clock.js';

/** A task that ends when the test says. */
class FakeTask implements HostedTask {
  readonly taskId: string;
  committedOffset = 0;
  stopAsked = false;
  end!: (how: TaskEnd) => void;
  fail!: (error: unknown) => void;
  /** A stop is answered at once, unless the test wants to answer it itself. */
  stopsAtOnce = true;

  constructor(readonly partition: number) {
    this.taskId = `t-${partition}`;
  }

  /** -1: it has not recovered yet. */
  epoch = 1;

  run(): Promise<TaskEnd> {
    return new Promise((resolve, reject) => {
      this.end = resolve;
      this.fail = reject;
    });
  }

  stop(): void {
    this.stopAsked = true;
    if (this.stopsAtOnce) this.end('stopped');
  }

  status(): TaskStatus {
    const { taskId, partition, committedOffset, epoch } = this;
    return { taskId, partition, committedOffset, epoch } as TaskStatus;
  }
}

/** A standby that ends when the test says. */
class FakeStandby implements HostedStandby {
  readonly taskId: string;
  epoch = 1;
  stopAsked = false;
  end!: () => void;
  fail!: (error: unknown) => void;

  constructor(
    readonly partition: number,
    readonly trustsStore: boolean,
  ) {
    this.taskId = `t-${partition}`;
  }

  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.end = resolve;
      this.fail = reject;
    });
  }

  stop(): void {
    this.stopAsked = true;
  }

  status(): StandbyStatus {
    const { taskId, partition, epoch } = this;
    return { taskId, partition, epoch } as StandbyStatus;
  }
}

const active = (...partitions: number[]) => ({
  active: partitions.map((partition) => ({ topic: 'payments', partition })),
  standby: [],
});
const settle = () => new Promise((resolve) => setImmediate(resolve));

let clock: HandClock;
let made: FakeTask[];
let standbys: FakeStandby[];
let fatal: FatalTask[];
let said: string[];
let host: TaskHost;
let configure: (task: FakeTask) => void;

beforeEach(() => {
  clock = new HandClock();
  [made, standbys, fatal, said] = [[], [], [], []];
  configure = () => {};
  host = new TaskHost({
    makeTask: ({ partition }) => {
      const task = new FakeTask(partition);
      configure(task);
      made.push(task);
      return task;
    },
    makeStandby: ({ partition }, trustsStore) => {
      const standby = new FakeStandby(partition, trustsStore);
      standbys.push(standby);
      return standby;
    },
    clock,
    onFatal: (one) => fatal.push(one),
    say: (_level, message) => said.push(message),
  });
});

const last = () => made[made.length - 1];
const partitions = () => made.map(({ partition }) => partition);

async function failWith(error: unknown): Promise<void> {
  last().fail(error);
  await settle();
}

describe('a task that fails', () => {
  it('is started again after a pause that grows', async () => {
    await host.own(active(4));
    await failWith(new Error('lost the disk'));
    expect([made.length, said.length]).toEqual([1, 1]);
    expect(said[0]).toContain('t-4 failed (unexpected: lost the disk); starting it again');
    clock.advance(199);
    await settle();
    expect(made).toHaveLength(1);
    clock.advance(1);
    await settle();
    expect(partitions()).toEqual([4, 4]);
    await failWith(new Error('again'));
    clock.advance(399);
    await settle();
    expect(made).toHaveLength(2);
    clock.advance(1);
    await settle();
    expect(made).toHaveLength(3);
  });

  it('is given up as poisoned when it failed four times at one offset', async () => {
    configure = (task) => {
      task.committedOffset = 900;
    };
    await host.own(active(4));
    for (let tries = 1; tries <= 3; tries++) {
      await failWith(new Error('cannot'));
      expect(fatal).toEqual([]);
      clock.advance(10_000);
      await settle();
    }
    await failWith(new Error('cannot'));
    expect(fatal).toEqual([
      { taskId: 't-4', code: 'poisoned', message: 'failed 4 times at source offset 900, each time with: cannot' },
    ]);
    clock.advance(60_000);
    await settle();
    expect(made).toHaveLength(4);
  });

  it('goes on for ever while it commits something in between', async () => {
    let offset = 0;
    configure = (task) => {
      task.committedOffset = offset++;
    };
    await host.own(active(4));
    for (let tries = 1; tries <= 20; tries++) {
      await failWith(new Error('cannot'));
      clock.advance(200);
      await settle();
    }
    expect([fatal, made.length]).toEqual([[], 21]);
  });

  it.each(['dead-letter-limit', 'offset-out-of-range', 'state-lost', 'corrupt-data', 'state-version', 'timer-limit'])(
    'with %s is given up at once',
    async (code) => {
      await host.own(active(4));
      await failWith(new StreamError(code, 'see a person'));
      expect(fatal).toEqual([{ taskId: 't-4', code, message: 'see a person' }]);
      clock.advance(60_000);
      await settle();
      expect(made).toHaveLength(1);
    },
  );

  it('before it has recovered counts its tries all the same, and does not claim an offset', async () => {
    configure = (task) => {
      task.epoch = -1;
    };
    await host.own(active(4));
    for (let tries = 1; tries <= 4; tries++) {
      await failWith(new Error('cannot'));
      clock.advance(10_000);
      await settle();
    }
    expect(fatal).toEqual([
      { taskId: 't-4', code: 'poisoned', message: 'failed 4 times before it had recovered, each time with: cannot' },
    ]);
  });

  it.each(['kafka-unreachable', 'object-store-unreachable'])(
    'for want of an answer (%s) is tried again without end',
    async (code) => {
      await host.own(active(4));
      for (let tries = 1; tries <= 30; tries++) {
        await failWith(new StreamError(code, 'nobody answers'));
        clock.advance(10_000);
        await settle();
      }
      expect([fatal, made.length]).toEqual([[], 31]);
    },
  );

  it('takes no other task with it', async () => {
    await host.own(active(4, 5));
    made[0].fail(new StreamError('state-lost', 'gone'));
    await settle();
    expect(made[1].stopAsked).toBe(false);
  });
});

describe('a fenced task', () => {
  it('is tried again once a heartbeat has had its chance, as long as it is ours', async () => {
    await host.own(active(4));
    last().end('fenced');
    await settle();
    clock.advance(9_999);
    await settle();
    expect(made).toHaveLength(1);
    clock.advance(1);
    await settle();
    expect(made).toHaveLength(2);
  });

  it('that is taken away while it waits is not tried again, and holds nobody up', async () => {
    await host.own(active(4));
    last().end('fenced');
    await settle();
    await host.own(active());
    clock.advance(10_000);
    await settle();
    expect([made.length, clock.waiting]).toEqual([1, 0]);
  });
});

describe('an assignment', () => {
  it('starts what is new, stops what left, and leaves the rest alone', async () => {
    await host.own(active(1, 2));
    await host.own(active(2, 3));
    expect(partitions()).toEqual([1, 2, 3]);
    expect(made.map(({ stopAsked }) => stopAsked)).toEqual([true, false, false]);
  });

  it('is done only when what left has stopped', async () => {
    configure = (task) => {
      task.stopsAtOnce = false;
    };
    await host.own(active(1));
    let done = false;
    const owned = host.own(active(2)).then(() => {
      done = true;
    });
    await settle();
    expect([done, made.length]).toEqual([false, 1]);
    made[0].end('stopped');
    await owned;
    expect(partitions()).toEqual([1, 2]);
  });

  it('that takes a task back while it stops starts it anew', async () => {
    configure = (task) => {
      task.stopsAtOnce = false;
    };
    await host.own(active(1));
    const away = host.own(active());
    const back = host.own(active(1));
    made[0].end('stopped');
    await Promise.all([away, back]);
    expect(partitions()).toEqual([1, 1]);
  });

  it('that a stop overtakes starts nothing any more', async () => {
    configure = (task) => {
      task.stopsAtOnce = false;
    };
    await host.own(active(1));
    const owned = host.own(active(2));
    const stopped = host.stop();
    made[0].end('stopped');
    await Promise.all([owned, stopped]);
    expect(partitions()).toEqual([1]);
  });

  it('does not wait out the pause before a next try', async () => {
    await host.own(active(1));
    await failWith(new Error('cannot'));
    await host.stop();
    expect([made.length, clock.waiting]).toEqual([1, 0]);
  });
});

describe('statuses', () => {
  it('show the newest of each task, and of one that ended how it ended', async () => {
    await host.own(active(1, 2));
    made[1].committedOffset = 5;
    expect(host.statuses().map(({ committedOffset }) => committedOffset)).toEqual([0, 5]);
    made[1].committedOffset = 9;
    made[1].fail(new StreamError('state-lost', 'gone'));
    await settle();
    expect(host.statuses().map(({ committedOffset }) => committedOffset)).toEqual([0, 9]);
  });

  it('go with the partition, even if its task had failed for good', async () => {
    await host.own(active(1, 2));
    made[1].fail(new StreamError('state-lost', 'gone'));
    await settle();
    await host.own(active(1));
    expect(host.statuses().map(({ partition }) => partition)).toEqual([1]);
    await host.own(active());
    expect(host.statuses()).toEqual([]);
  });

  it('stay after a stop, so that the last word is where it ended', async () => {
    await host.own(active(1, 2));
    made[0].committedOffset = 70;
    await host.stop();
    expect(host.statuses().map(({ committedOffset }) => committedOffset)).toEqual([70, 0]);
  });
});

describe('a standby', () => {
  const standby = (...partitions: number[]) => ({ active: [], standby: active(...partitions).active });

  it('has stopped before the task of its unit begins, and the other way round', async () => {
    await host.own(standby(4));
    const promoted = host.own(active(4));
    await settle();
    expect([standbys[0].stopAsked, made.length]).toEqual([true, 0]);
    standbys[0].end();
    await promoted;
    expect(partitions()).toEqual([4]);
    configure = (task) => {
      task.stopsAtOnce = false;
    };
    const demoted = host.own(standby(4));
    await demoted;
    expect([made[0].stopAsked, standbys.length]).toEqual([true, 2]);
  });

  it('stays while others come and go', async () => {
    await host.own({ active: active(1).active, standby: active(2).active });
    await host.own({ active: active(1, 3).active, standby: active(2).active });
    expect([standbys.length, standbys[0].stopAsked, partitions()]).toEqual([1, false, [1, 3]]);
  });

  it('that fails is tried again without end, and never ends the process', async () => {
    await host.own(standby(4));
    for (let tries = 1; tries <= 20; tries++) {
      standbys.at(-1)?.fail(new StreamError('state-lost', 'gone'));
      await settle();
      clock.advance(10_000);
      await settle();
    }
    expect([fatal, standbys.length]).toEqual([[], 21]);
    expect(said[0]).toBe('the standby of t-4 failed (state-lost: gone); starting it again');
  });

  it('begins with what it stored, unless it fails again and comes no further', async () => {
    await host.own(standby(4));
    for (let tries = 1; tries <= 4; tries++) {
      standbys.at(-1)?.fail(new Error('torn'));
      await settle();
      clock.advance(10_000);
      await settle();
    }
    expect(standbys.map(({ trustsStore }) => trustsStore)).toEqual([true, true, false, true, false]);
  });

  it('whose thread died over its store does not trust that store', async () => {
    await host.own(standby(4), active(4).active);
    expect(standbys[0].trustsStore).toBe(false);
  });

  it('is shown while it is one', async () => {
    await host.own({ active: active(1).active, standby: active(2).active });
    expect(host.standbyStatuses().map(({ partition }) => partition)).toEqual([2]);
    expect(host.statuses().map(({ partition }) => partition)).toEqual([1]);
    const given = host.own(active(1));
    standbys[0].end();
    await given;
    expect(host.standbyStatuses()).toEqual([]);
  });
});
