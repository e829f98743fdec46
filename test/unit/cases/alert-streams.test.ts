import { setImmediate as turn } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import type { AlertStream } from '../../../src/api/analyst/alert-stream.js';
import { AlertStreams } from '../../../src/api/analyst/alert-streams.js';
import type { AlertFeed, FedAlert } from '../../../src/fraud/cases/alert-feed.js';
import { isWanted } from '../../../src/fraud/cases/alert-feed.js';
import type { AlertHead } from '../../../src/fraud/cases/stored-alert.js';
import { anAlert } from '../../integration/projector-fixtures.js';
import { HandClock } from '../hand-clock.js';

let clock: HandClock;
let stored: FedAlert[];
let tell: () => void;
let streams: AlertStreams;
let trouble: unknown[];
let failing: Error | null;
let listeners: number;

const feed: AlertFeed = {
  latest: async () => stored.at(-1)?.sequence ?? 0,
  after: async (after, upTo, filter, limit) => {
    // As a database does, it lets others have their turn.
    await turn();
    if (failing !== null) throw failing;
    return stored
      .filter(({ sequence, alert }) => sequence > after && sequence <= upTo && isWanted(filter, alert))
      .slice(0, limit);
  },
  listen: (onNews) => {
    tell = onNews;
    listeners++;
    return {
      close: async () => {
        listeners--;
      },
    };
  },
};

beforeEach(() => {
  clock = new HandClock();
  stored = [];
  trouble = [];
  failing = null;
  listeners = 0;
  streams = new AlertStreams({ feed, clock, mostStreams: 3, onTrouble: (error) => trouble.push(error) });
});

function store(from: number, to: number, note = ''): void {
  for (let i = from; i < to; i++) {
    const { evidence: _, ...head } = anAlert(i);
    stored.push({ sequence: i, alert: { ...head, cardId: note + head.cardId } as unknown as AlertHead });
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 60; i++) await turn();
}

/** Reads what is there, as a client that takes all. */
function taking(stream: AlertStream): { text: string; ended: boolean } {
  const taken = { text: '', ended: false };
  stream.readable.on('data', (chunk: Buffer) => {
    taken.text += chunk.toString();
  });
  stream.readable.on('close', () => {
    taken.ended = true;
  });
  return taken;
}
const idsOf = (text: string) => [...text.matchAll(/^id: (\d+)\nevent/gm)].map(([, id]) => Number(id));
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe('streams of alerts', () => {
  it('are opened up to a number, and again when one has ended', async () => {
    const open = [await streams.start({}, null), await streams.start({}, null), await streams.start({}, null)];
    await expect(streams.start({}, null)).rejects.toMatchObject({ code: 'too-many-streams' });
    open[1].readable.destroy();
    await settle();
    await streams.start({}, null);
    await expect(streams.start({}, null)).rejects.toMatchObject({ code: 'too-many-streams' });
  });

  it('are bounded also while many are being opened at once', async () => {
    const answers = await Promise.allSettled(range(0, 10).map(() => streams.start({}, null)));
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
  });

  it('cut off a client that takes nothing, and no other', async () => {
    const slow = await streams.start({}, null);
    const quick = taking(await streams.start({}, null));
    let gone = false;
    slow.readable.once('close', () => {
      gone = true;
    });
    store(1, 2_000);
    tell();
    await settle();
    await settle();
    expect(slow.isOpen).toBe(false);
    expect(slow.readable.readableLength).toBeLessThan(512 * 1024);
    expect(idsOf(quick.text)).toEqual(range(1, 2_000));
    clock.advance(2_000);
    await settle();
    expect(gone).toBe(true);
  });

  it('that take late what they were sent find the reason, and where to go on, at its end', async () => {
    const slow = await streams.start({}, null);
    store(1, 2_000);
    tell();
    await settle();
    await settle();
    const taken = taking(slow);
    await settle();
    expect(taken.text).toMatch(/: too slow; come back with Last-Event-ID\n\n$/);
    const ids = idsOf(taken.text);
    expect(ids).toEqual(range(1, ids.length + 1));
    const again = taking(await streams.start({}, ids.length));
    await settle();
    await settle();
    expect(idsOf(again.text)).toEqual(range(ids.length + 1, 2_000));
  });

  it('catch up at the pace of the client, which must take something now and then', async () => {
    store(1, 5_000);
    const patient = await streams.start({}, 0);
    await settle();
    // One page and no more waits for the client.
    expect(patient.readable.readableLength).toBeLessThan(300 * 1024);
    clock.advance(30_000);
    expect(patient.isOpen).toBe(false);
  });

  it('miss nothing that is stored while they catch up', async () => {
    store(1, 1_000);
    const taken = taking(await streams.start({}, 0));
    for (let next = 1_000; next < 1_500; next += 50) {
      store(next, next + 50);
      tell();
      await turn();
    }
    await settle();
    await settle();
    expect(idsOf(taken.text)).toEqual(range(1, 1_500));
  });

  it('repeat nothing to a client that another process has sent more than this one has read yet', async () => {
    const here = taking(await streams.start({}, null));
    store(1, 11);
    const fromElsewhere = taking(await streams.start({}, 8));
    tell();
    await settle();
    expect(idsOf(here.text)).toEqual(range(1, 11));
    expect(idsOf(fromElsewhere.text)).toEqual([9, 10]);
    await expect(streams.start({}, 11)).rejects.toMatchObject({ code: 'request-invalid' });
  });

  it('find by themselves what they were not told of, within a second', async () => {
    const taken = taking(await streams.start({}, null));
    await settle();
    store(1, 4);
    await settle();
    expect(idsOf(taken.text)).toEqual([]);
    clock.advance(1_000);
    await settle();
    expect(idsOf(taken.text)).toEqual([1, 2, 3]);
  });

  it('tell once of a database that is away, and go on when it is back', async () => {
    const taken = taking(await streams.start({}, null));
    await settle();
    failing = new Error('away');
    store(1, 4);
    for (let i = 0; i < 5; i++) {
      clock.advance(1_000);
      await settle();
    }
    expect(trouble).toEqual([failing]);
    failing = null;
    clock.advance(1_000);
    await settle();
    expect(idsOf(taken.text)).toEqual([1, 2, 3]);
  });

  it('carry heartbeats with the place reached, also where the filter lets nothing through', async () => {
    const taken = taking(await streams.start({ ruleId: 'unknown' }, null));
    await settle();
    store(1, 8);
    tell();
    await settle();
    clock.advance(15_000);
    await settle();
    expect(taken.text).toContain('id: 7\n: heartbeat\n\n');
    expect(idsOf(taken.text)).toEqual([]);
  });

  it('end after a while, so that credentials are looked at again', async () => {
    const taken = taking(await streams.start({}, null));
    for (let i = 0; i < 62; i++) clock.advance(15_000);
    await settle();
    expect(taken.ended).toBe(true);
    expect(taken.text).toMatch(/: long enough; come back with Last-Event-ID\n\n$/);
  });

  it('end when the process stops, and no more are opened', async () => {
    const taken = taking(await streams.start({}, null));
    await streams.close();
    await settle();
    expect([taken.ended, listeners]).toEqual([true, 0]);
    await expect(streams.start({}, null)).rejects.toMatchObject({ code: 'too-many-streams' });
  });
});
