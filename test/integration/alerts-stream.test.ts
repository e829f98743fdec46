import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PostgresAlertProjection } from '../../src/adapters/postgres/alert-projection.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { encodeAlert } from '../../src/fraud/alerts/encode-alert.js';
import { Projector } from '../../src/fraud/cases/projector.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { type AlertsWorld, openAlertsWorld } from './alerts-world.js';
import { anAlert, query, startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const NOON = Date.UTC(2026, 0, 5, 12);

let postgres: TestPostgres;
let world: AlertsWorld;
let address: string;
let followers: Follower[];

beforeAll(async () => {
  postgres = await startTestPostgres(15_634);
});
afterAll(async () => postgres.dispose());
beforeEach(async () => {
  world = await openAlertsWorld(await postgres.newDatabase(), NOON);
  address = await world.api.listen('127.0.0.1', 0);
  followers = [];
});
afterEach(async () => {
  for (const follower of followers) follower.leave();
  await world.close();
});

/** A client of the stream. */
class Follower {
  readonly events: { readonly id: string; readonly alertId: string; readonly atMs: number }[] = [];
  readonly comments: string[] = [];
  lastId = '';
  ended = false;
  private readonly gone = new AbortController();

  async follow(filter = '', lastEventId: string | null = null): Promise<this> {
    followers.push(this);
    const answer = await fetch(`${address}/v1/alerts/stream${filter}`, {
      headers: { authorization: 'Bearer analyst', ...(lastEventId === null ? {} : { 'last-event-id': lastEventId }) },
      signal: this.gone.signal,
    });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    void this.read(answer).catch(() => {
      this.ended = true;
    });
    return this;
  }

  leave(): void {
    this.gone.abort();
  }

  ids(): string[] {
    return this.events.map(({ alertId }) => alertId);
  }

  private async read(answer: Response): Promise<void> {
    let rest = '';
    for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const frames = (rest + chunk).split('\n\n');
      rest = frames.pop() ?? '';
      for (const frame of frames) this.take(frame);
    }
    this.ended = true;
  }

  private take(frame: string): void {
    const fields = frame.split('\n').map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
    });
    const field = (name: string) => fields.find(([key]) => key === name)?.[1];
    this.lastId = field('id') ?? this.lastId;
    this.comments.push(...fields.filter(([key]) => key === '').map(([, text]) => text));
    const data = field('data');
    if (data === undefined) return;
    this.events.push({ id: this.lastId, alertId: JSON.parse(data).alertId, atMs: performance.now() });
  }
}

const some = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => anAlert(from + i));
const idsOf = (alerts: readonly Alert[]) => alerts.map(({ alertId }) => alertId);

/** The connections of this database that listen for alerts. */
const listening = (what = 'pid') =>
  query(
    world.url,
    `SELECT ${what} FROM pg_stat_activity
     WHERE application_name = 'fraud-detector alert feed' AND datname = current_database()`,
  );

describe('the example in docs/ANALYST-API.md', () => {
  it('follows the stream, and goes on from the last id', async () => {
    const text = readFileSync(new URL('../../docs/ANALYST-API.md', import.meta.url), 'utf8');
    const [, example = ''] = /```js\n(.*?)```/s.exec(text) ?? [];
    const code = example.replace('http://127.0.0.1:3000', address);
    expect(code).toContain(address);
    await world.store([anAlert(0)]);
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      env: { ...process.env, TOKEN: 'analyst' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    try {
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk));
      const follows = () => expect.poll(() => listening(), { timeout: 5_000 }).toHaveLength(1);
      await follows();
      await world.store([anAlert(1)]);
      const line = (i: number) => `${anAlert(i).alertId}\n`;
      await expect.poll(() => said, { timeout: 5_000 }).toBe(line(1));
      const [, port] = /:(\d+)$/.exec(address) ?? [];
      await world.api.close();
      await world.store([anAlert(2)]);
      const other = await openAlertsWorld(world.url, NOON);
      try {
        await other.api.listen('127.0.0.1', Number(port));
        await expect
          .poll(() => said.replace(/^fetch failed\n|^terminated\n/gm, ''), { timeout: 8_000 })
          .toBe(line(1) + line(2));
      } finally {
        await other.close();
      }
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('the stream of new alerts', () => {
  it('sends what is stored from now on, as the list shows it, in tens of milliseconds', async () => {
    await world.store(some(0, 10));
    const follower = await new Follower().follow();
    const delays: number[] = [];
    for (let i = 10; i < 30; i++) {
      await world.store([anAlert(i)]);
      const committed = performance.now();
      await expect.poll(() => follower.events.length, { interval: 1 }).toBe(i - 9);
      delays.push((follower.events.at(-1)?.atMs ?? 0) - committed);
    }
    expect(follower.ids()).toEqual(idsOf(some(10, 30)));
    // Far under the poll of a second that stands in where the database did not tell.
    expect(delays.sort((a, b) => a - b)[10]).toBeLessThan(200);
  });

  it('sends what the filter asks for', async () => {
    const declined = await new Follower().follow('?decision=decline');
    const scored = await new Follower().follow('?minScore=0.9&severity=critical');
    const ruled = await new Follower().follow('?ruleId=elevated-score');
    const nothing = await new Follower().follow('?ruleId=unknown');
    const alerts = [...some(0, 30), anAlert(30, { score: null })];
    await world.store(alerts);
    const wanted = (of: (alert: Alert) => boolean) => idsOf(alerts.filter(of));
    await expect.poll(() => declined.ids()).toEqual(wanted(({ decision }) => decision === 'decline'));
    await expect
      .poll(() => scored.ids())
      .toEqual(wanted(({ score, severity }) => score !== null && score >= 0.9 && severity === 'critical'));
    await expect.poll(() => ruled.ids()).toEqual(wanted(({ rules }) => rules[0].id === 'elevated-score'));
    expect(nothing.ids()).toEqual([]);
  });

  it('goes on behind Last-Event-ID, over pages, from the very first id that it gave', async () => {
    const first = await new Follower().follow();
    await expect.poll(() => first.lastId).toBe('0');
    first.leave();
    await world.store(some(0, 450));
    const second = await new Follower().follow('', first.lastId);
    await expect.poll(() => second.ids()).toEqual(idsOf(some(0, 450)));
    await world.store(some(450, 460));
    await expect.poll(() => second.ids()).toEqual(idsOf(some(0, 460)));
    const middle = await new Follower().follow('', second.events[199].id);
    await expect.poll(() => middle.ids()).toEqual(idsOf(some(200, 460)));
  });

  it('loses and repeats nothing over restarts of projector and client, with partitions stored at once', async () => {
    const log = makeMemoryLog();
    const backend = log.open();
    await (await backend.openAdmin()).ensure([{ name: 'fraud.alerts', partitions: 4, cleanup: 'delete' }]);
    const writer = await backend.openWriter();
    const startProjector = () => {
      const projector = new Projector({
        topic: 'fraud.alerts',
        backend,
        partitionCount: async () => 4,
        projection: new PostgresAlertProjection(world.database.dataSource),
        clock: systemClock,
      });
      projector.start();
      return projector;
    };
    let projector = startProjector();
    const staying = await new Follower().follow('', '0');
    const seen: string[] = [];
    let leaving = await new Follower().follow('', '0');
    const TOTAL = 600;
    for (let i = 0; i < TOTAL; i += 20) {
      await writer.write(some(i, i + 20).map((alert) => encodeAlert(alert, 'fraud.alerts')));
      await sleep(5);
      if (i % 100 === 60) {
        await projector.stop();
        projector = startProjector();
      }
      if (i % 80 === 40) {
        leaving.leave();
        seen.push(...leaving.ids());
        leaving = await new Follower().follow('', leaving.lastId);
      }
    }
    await expect.poll(() => staying.events.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(TOTAL);
    await expect.poll(() => seen.length + leaving.events.length, { timeout: 5_000 }).toBeGreaterThanOrEqual(TOTAL);
    await projector.stop();
    const all = idsOf(some(0, TOTAL)).sort();
    expect(staying.ids().sort()).toEqual(all);
    expect([...seen, ...leaving.ids()].sort()).toEqual(all);
    const sequences = staying.events.map(({ id }) => Number(id));
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
  });

  it('goes on when its connection to the database is cut', async () => {
    const follower = await new Follower().follow();
    await world.store([anAlert(1)]);
    await expect.poll(() => follower.events.length).toBe(1);
    const cut = await listening('pg_terminate_backend(pid)');
    expect(cut).toHaveLength(1);
    await world.store([anAlert(2)]);
    await expect.poll(() => follower.events.length, { timeout: 3_000 }).toBe(2);
    await expect.poll(async () => (await listening()).length, { timeout: 5_000 }).toBe(1);
  });

  it.each(['x', '-1', '1.5', '1'.repeat(16), '99'])('refuses Last-Event-ID %s', async (id) => {
    const answer = await world.as('analyst').get('/v1/alerts/stream').set('last-event-id', id);
    expect([answer.status, answer.body.parameters[0].name]).toEqual([400, 'Last-Event-ID']);
  });

  it('refuses filters that it does not know, and those who may not read', async () => {
    expect((await world.as('analyst').get('/v1/alerts/stream?cardId=x')).status).toBe(400);
    expect((await world.as('nobody').get('/v1/alerts/stream')).status).toBe(401);
  });

  it('leaves nothing behind when it is only asked for its head', async () => {
    for (let i = 0; i < 250; i++) {
      const answer = await fetch(`${address}/v1/alerts/stream`, {
        method: 'HEAD',
        headers: { authorization: 'Bearer analyst' },
      });
      expect([i, answer.status]).toEqual([i, 200]);
    }
  });

  it('ends at once when the API closes, and its connection to the database with it', async () => {
    const open = await Promise.all(Array.from({ length: 5 }, () => new Follower().follow()));
    const start = performance.now();
    await world.api.close();
    expect(performance.now() - start).toBeLessThan(1_000);
    await expect.poll(() => listening(), { timeout: 2_000 }).toEqual([]);
    await expect.poll(() => open.every(({ ended }) => ended)).toBe(true);
  });
});
