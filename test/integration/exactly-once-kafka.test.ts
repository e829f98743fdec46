/**
 * Exactly once, in short, through real processes of the service that are killed: on a real broker, and on the embedded
 * log with Postgres behind it. The long form, with its runs and figures, is `npm run prove` (docs/PROVING.md).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compare } from '../../scripts/prove/compare.js';
import type { InputPlan } from '../../scripts/prove/input.js';
import { loadPlain } from '../../scripts/prove/load.js';
import { provenMerchantRisk } from '../../scripts/prove/merchant-risk.js';
import { readAlerts, readDeadLetters } from '../../scripts/prove/outputs.js';
import { referenceFor, runAndCompare } from '../../scripts/prove/runs.js';
import { type ServiceProcess, startService } from '../../scripts/prove/service.js';
import { configurationOf, type Surroundings, setUp } from '../../scripts/prove/setting-up.js';
import { StateFollower } from '../../scripts/prove/state-follower.js';
import {
  type MerchantRiskService,
  startMerchantRiskService,
} from '../../src/adapters/merchant-risk-http/merchant-risk-service.js';
import { openBackend } from '../../src/app/backend.js';
import type { LogBackend } from '../../src/stream/ports.js';

const WAIT_MS = 60_000;
const API_KEY = 'exactly-once-tests-api-key';
/** On a busy machine; 20 s are usual. */
const TEST_MS = 150_000;
/** Slow answers and no cache: a kill must find the service in the midst of its work. */
const RISK_LATENCY_MS = 25;
const SLOW = ['--merchant-risk-cache-expiry-ms=0', '--batch-max-records=128'];
/** Fewer hot cards than there are: the state store takes part, and what was in it must come back, timers too. */
const LITTLE_MEMORY = ['--memory-hot-keys=1024'];

describe('exactly once on Kafka', () => {
  let surroundings: Surroundings;

  beforeAll(async () => {
    surroundings = await setUp({ port: 19_496, partitions: 2, riskLatencyMs: RISK_LATENCY_MS });
  });

  afterAll(async () => {
    await surroundings?.close();
  });

  it(
    'makes every alert and dead letter once, and remembers every payment once, over a kill -9',
    async () => {
      const { backend, admin } = surroundings;
      const plan: InputPlan = { file: null, payments: 20_000, partitions: 2, malformedEvery: 200, seed: 11 };
      const topic = await surroundings.inputTopic('input');
      const writer = await backend.openWriter();
      const input = await loadPlain(plan, { topic, writer, admin });
      await writer.close();
      const reference = await referenceFor(input, await surroundings.place('reference', topic));
      expect(reference.timerAlerts).toBeGreaterThan(5);
      expect(reference.alerts.size).toBeGreaterThan(100);
      expect(reference.deadLetters.length).toBe(input.malformed);

      const result = await runAndCompare(
        surroundings,
        {
          name: 'kill',
          seed: 5,
          disturbance: { kind: 'kills', times: 1 },
          flags: [...SLOW, ...LITTLE_MEMORY, '--checkpoint-interval-ms=1000', '--kafka-session-timeout-ms=6000'],
        },
        input,
        reference,
      );
      expect(result.problems).toEqual([]);
      expect(result.backAfterMs).toHaveLength(1);
      expect(result).toMatchObject({ processed: reference.payments, distinctAlerts: reference.alerts.size });
    },
    TEST_MS,
  );
});

describe('exactly once on the embedded log', () => {
  let directory: string;
  let risk: MerchantRiskService;
  let service: ServiceProcess | null = null;
  let backend: LogBackend | null = null;
  let follower: StateFollower | null = null;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'exactly-once-'));
    risk = await startMerchantRiskService({ latencyMs: RISK_LATENCY_MS, riskOf: provenMerchantRisk });
  });

  afterEach(async () => {
    // In order where it can, so that its Postgres goes with it.
    await service?.stop();
    await follower?.close();
    await backend?.close();
    await risk?.close();
    await rm(directory, { recursive: true, force: true });
  });

  it(
    'has every alert once in the log and once in Postgres after the whole process was killed and started again',
    async () => {
      const port = 19_498;
      const flags = [
        '--backend=embedded',
        '--no-demo',
        `--data-dir=${join(directory, 'data')}`,
        `--port=${port}`,
        `--merchant-risk-url=${risk.url}`,
        '--merchant-risk-timeout-ms=60000',
        '--watermark-idle-timeout-ms=86400000',
        '--terminal-show=off',
        '--checkpoint-interval-ms=1000',
        ...SLOW,
      ];
      const keyFile = join(directory, 'api-key');
      await writeFile(keyFile, API_KEY);
      const start = () => {
        service = startService([...flags, `--access-api-key-file=${keyFile}`], join(directory, 'service.log'));
        return service;
      };
      const configuration = configurationOf(flags);
      const { topics } = configuration;

      const first = start();
      await untilReady(port, first);
      backend = await openBackend(configuration);
      const admin = await backend.openAdmin();
      const partitions = (await admin.partitionCount(topics.payments)) ?? 0;
      const plan: InputPlan = { file: null, payments: 8_000, partitions, malformedEvery: 200, seed: 12 };
      const writer = await backend.openWriter();
      const input = await loadPlain(plan, { topic: topics.payments, writer, admin });
      const reference = await referenceFor(input, { name: 'embedded', configuration, flags });
      expect(reference.alerts.size).toBeGreaterThan(40);

      const followed = await StateFollower.open(backend, topics.stateLog, input.cards);
      follower = followed;
      const ends = input.offsets.map(({ last }) => last + 1);
      const committed = () => followed.committed.reduce((sum, offset) => sum + offset, 0);
      await followed.when(() => committed() > input.messages / 3, WAIT_MS, 'a third', first.unexpectedEnd);
      expect(committed(), 'the kill came too late').toBeLessThan(input.messages);
      await first.kill();

      const second = start();
      const isDone = () => followed.committed.every((offset, partition) => offset >= ends[partition]);
      await followed.when(isDone, WAIT_MS, 'everything', second.unexpectedEnd);
      const inPostgres = await untilProjected(port, reference.alerts.size, second);
      expect(inPostgres.length).toBe(reference.alerts.size);
      expect(new Set(inPostgres)).toEqual(new Set(reference.alerts.keys()));
      const stopped = await second.stop();
      expect(stopped.code, second.said()).toBe(0);
      expect(stopped.tookMs).toBeLessThan(5_000);

      const alerts = await readAlerts(backend, topics.alerts);
      const deadLetters = await readDeadLetters(backend, topics.deadLetters, topics.payments);
      const verdict = compare(reference, { alerts, deadLetters, cards: followed.cards() });
      expect(verdict.differences).toEqual([]);
      expect(followed.problems).toEqual([]);
      expect(followed.rememberedPayments + deadLetters.length).toBe(input.messages);
      await writer.close();
      await admin.close();
    },
    TEST_MS,
  );
});

async function untilReady(port: number, service: ServiceProcess): Promise<void> {
  await until(service, async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => null);
    return answer?.ok === true ? true : null;
  });
}

/** Ids of all alerts that the API lists, once there are as many as expected and a moment has passed. */
async function untilProjected(port: number, expected: number, service: ServiceProcess): Promise<readonly string[]> {
  await until(service, async () => ((await listAlerts(port)).length >= expected ? true : null));
  await sleep(500);
  return listAlerts(port);
}

async function listAlerts(port: number): Promise<readonly string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const after: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const answer = await fetch(`http://127.0.0.1:${port}/v1/alerts?limit=200${after}`, {
      headers: { 'x-api-key': API_KEY },
    }).catch(() => null);
    if (answer?.ok !== true) return [];
    const page = (await answer.json()) as { items: { alertId: string }[]; next: string | null };
    ids.push(...page.items.map(({ alertId }) => alertId));
    cursor = page.next;
  } while (cursor !== null);
  return ids;
}

async function until(service: ServiceProcess, probe: () => Promise<true | null>): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while ((await Promise.race([probe(), service.unexpectedEnd])) === null) {
    if (Date.now() > deadline) throw new Error(`waited ${WAIT_MS} ms in vain; the service said:\n${service.said()}`);
    await sleep(100);
  }
}
