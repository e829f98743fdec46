/** Owns the tests of broadcast inputs: read to their end before a task begins, and applied at epoch boundaries alone. */
import { beforeEach, describe, expect, it } from 'vitest';
import { StateLogDecoder } from '../../../src/stream/epoch/delta.js';
import type { BroadcastState } from '../../../src/stream/pipeline/pipeline.js';
import type { Clock, LogBackend } from '../../../src/stream/ports.js';
import { BroadcastInputs } from '../../../src/stream/runtime/broadcast-inputs.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { type MemoryLog, makeMemoryLog } from '../../../src/stream/testing/memory-log.js';
import { kitPipeline, TOPICS } from '../kit.js';
import { TaskWorld, until } from '../task-world.js';

let log: MemoryLog;
let backend: LogBackend;
let open: number;
const seen: string[] = [];

beforeEach(async () => {
  log = makeMemoryLog();
  open = 0;
  seen.length = 0;
  const plain = log.open();
  backend = {
    ...plain,
    openReader: async (options) => {
      const reader = await plain.openReader(options);
      open++;
      const close = reader.close.bind(reader);
      return Object.assign(reader, {
        close: () => {
          open--;
          return close();
        },
      });
    },
  };
  const admin = await plain.openAdmin();
  await admin.ensure(['rules', 'risk'].map((name) => ({ name, partitions: 1, cleanup: 'compact' as const })));
});

async function put(topic: string, ...values: string[]): Promise<void> {
  const writer = await log.open().openWriter();
  await writer.write(
    values.map((value) => ({ topic, key: Buffer.from('k'), value: Buffer.from(value), headers: [], timestampMs: 1 })),
  );
}

const table = (id: string, topic = id): BroadcastState => ({
  id,
  topic,
  apply: (key, value) => seen.push(`${id}:${key}=${value}`),
});

/** Thirty seconds pass in no time. */
const hasty = (): Clock => {
  let nowMs = 0;
  return {
    ...systemClock,
    monotonic: () => {
      nowMs += 6_000;
      return nowMs;
    },
  };
};

describe('broadcast inputs', () => {
  it('are read to their end before anything else happens, gaps included', async () => {
    await put('rules', 'one', 'two');
    log.faults.leaveGap('rules', 0, 3);
    await put('risk', ...Array.from({ length: 1_300 }, (_, i) => String(i)));
    const inputs = await BroadcastInputs.open([table('rules'), table('risk')], backend, {}, systemClock);
    expect(seen.slice(0, 2)).toEqual(['rules:k=one', 'rules:k=two']);
    expect(seen).toHaveLength(1_302);
    expect(inputs.cursors).toEqual({ rules: 5, risk: 1_300 });
    await inputs.close();
    expect(open).toBe(0);
  });

  it('apply what came later only when asked, and say how far they are', async () => {
    await put('rules', 'one');
    const inputs = await BroadcastInputs.open([table('rules')], backend, { rules: 1 }, systemClock);
    await put('rules', 'two');
    expect([seen, inputs.cursors]).toEqual([['rules:k=one'], { rules: 1 }]);
    inputs.applyPending();
    expect([seen, inputs.cursors]).toEqual([['rules:k=one', 'rules:k=two'], { rules: 2 }]);
    await inputs.close();
  });

  it('wait for what the last epoch had already applied', async () => {
    await put('rules', 'one');
    const opening = BroadcastInputs.open([table('rules')], backend, { rules: 2 }, systemClock);
    let opened = false;
    void opening.then(() => {
      opened = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(opened).toBe(false);
    await put('rules', 'two');
    const inputs = await opening;
    expect(seen).toEqual(['rules:k=one', 'rules:k=two']);
    await inputs.close();
  });

  it('refuse to go on with less than the last epoch had, and let go of what they opened', async () => {
    await put('rules', 'one');
    await expect(
      BroadcastInputs.open([table('risk'), table('rules')], backend, { rules: 9 }, hasty()),
    ).rejects.toMatchObject({ code: 'broadcast-unreadable', message: expect.stringContaining('rules') });
    expect(open).toBe(0);
    await expect(
      BroadcastInputs.open([table('risk'), table('none', 'no-such-topic')], backend, {}, systemClock),
    ).rejects.toThrow();
    expect(open).toBe(0);
  });
});

describe('a task with a broadcast input', () => {
  it('changes nothing within an epoch: an update waits for the next one', async () => {
    const world = await TaskWorld.begin();
    const applied: string[] = [];
    await world.write(['one'], TOPICS.table);
    const pipeline = kitPipeline({ onTable: (value) => applied.push(value) });
    const slow = { epoch: { promptMs: 60_000, maxMs: 60_000, idleMs: 60_000, maxRecords: 3, maxBytes: 1 << 20 } };
    const task = world.task(slow, { pipeline });
    const run = task.run();
    await until(() => task.status().state === 'running');
    await world.write([{ key: 'a', value: 1, at: 1 }]);
    await until(() => task.status().records === 1);
    await world.write(['two'], TOPICS.table);
    await world.write([{ key: 'a', value: 1, at: 1 }]);
    await until(() => task.status().records === 2);
    expect(applied).toEqual(['one']);
    await world.write([{ key: 'a', value: 1, at: 1 }]); // the bound of the epoch
    await until(() => task.status().committedOffset === 3);
    await world.write([{ key: 'a', value: 1, at: 1 }]);
    await until(() => task.status().records === 4);
    task.stop();
    await run;
    expect(applied).toEqual(['one', 'two']);
    // How far it was goes into each delta: the next task must not begin with less.
    const decoder = new StateLogDecoder();
    const cursors = world.log
      .records(TOPICS.log)
      .map(({ value, offset }) => decoder.push(value ?? Buffer.alloc(0), offset))
      .flatMap((record) => (record?.kind === 'delta' ? [record.head.cursors.table] : []));
    expect([cursors[0], cursors.at(-1)]).toEqual([1, 2]);
  });
});
