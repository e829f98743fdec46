/**
 * The service killed at any moment: no alert is lost or doubled, and nothing left behind stands in the way of the next
 * start. `SERVICE_TEST_SEED=<number>` repeats the moments of a run that failed.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type MerchantRiskService,
  startMerchantRiskService,
} from '../../src/adapters/merchant-risk-http/merchant-risk-service.js';
import { Random } from '../../src/fraud/world/random.js';
import { caughtUp, shownAlertIds } from './outcome.js';
import { BUSY_DEMO, leftAt, Workshop } from './service.js';
import { countRecords, readAlertIds } from './topic-contents.js';

const SEED = Number(process.env.SERVICE_TEST_SEED ?? Date.now() % 1_000_000);
const KILLS = 3;
/** From the moment the process is started: some fall into the start, some into the run. */
const LATEST_KILL_MS = 5_000;

/** Enough for alerts before, between and after the kills. */
const MUCH = [...BUSY_DEMO, '--demo-rate=1500', '--demo-fraud-per-thousand=400'];

const workshop = new Workshop();
let risk: MerchantRiskService | null = null;

afterEach(async () => {
  await workshop.clear();
  await risk?.close();
});

describe('the service killed with SIGKILL', () => {
  it(`loses and doubles no alert over ${KILLS} kills (seed ${SEED})`, async () => {
    const random = new Random(SEED);
    const directory = workshop.directory();
    // One for all runs, so that every run sees the same risks.
    risk = await startMerchantRiskService({ latencyMs: 1 });
    const flags = [
      `--data-dir=${directory}`,
      '--port=0',
      `--merchant-risk-url=${risk.url}`,
      // Timers follow the payments alone, and risks the service, not how fast this machine is.
      '--watermark-idle-timeout-ms=86400000',
      '--merchant-risk-timeout-ms=60000',
      '--checkpoint-interval-ms=700',
      '--checkpoint-min-pause-ms=100',
    ];

    const first = workshop.start([...flags, ...MUCH]);
    await first.up();
    for (let kill = 0, running = first; kill < KILLS; kill++) {
      await wait(Math.round(random.unit() * LATEST_KILL_MS));
      expect(running.isRunning(), running.said()).toBe(true);
      process.kill(running.pid, 'SIGKILL');
      await running.ended;
      // Its Postgres ends by itself, or is ended by the next start; that start waits for neither.
      running = workshop.start([...flags, ...MUCH]);
      if (kill < KILLS - 1) continue;
      await running.up();
      const { code } = await running.stop('SIGTERM');
      expect(code, running.said()).toBe(0);
    }
    expect(await leftAt(directory, 1_000)).toEqual([]);

    const last = workshop.start([...flags, '--no-demo']);
    await caughtUp(last);
    const inPostgres = await shownAlertIds(last);
    expect((await last.stop('SIGTERM')).code, last.said()).toBe(0);
    const inTopic = await readAlertIds(directory);
    expect(inTopic.length).toBeGreaterThan(20);
    expect(new Set(inTopic).size).toBe(inTopic.length);
    expect(inPostgres).toEqual(inTopic);

    // The same payments once more, never killed, into topics of their own: the same alerts and dead letters.
    const again = workshop.start([
      ...flags,
      '--no-demo',
      '--roles=detector',
      '--pipeline-name=again',
      '--topics-alerts=again.alerts',
      '--topics-dead-letters=again.dead-letters',
      '--topics-state-log=again.state',
    ]);
    await caughtUp(again);
    expect((await again.stop('SIGTERM')).code, again.said()).toBe(0);
    expect(await readAlertIds(directory, 'again.alerts')).toEqual(inTopic);
    const deadLetters = await countRecords(directory, 'payments.dead-letters');
    expect(deadLetters).toBeGreaterThan(0);
    expect(await countRecords(directory, 'again.dead-letters')).toBe(deadLetters);
  });
});
