/**
 * The service with its checkpoints in S3: after a kill and the loss of its local state it goes on from them, with no
 * alert lost or doubled; and what keeps it from the bucket is told at the start.
 */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { S3_CREDENTIALS, type S3Server, startS3Server } from '../support/s3-server.js';
import { caughtUp } from './outcome.js';
import { BUSY_DEMO, START_LIMIT_MS, Workshop } from './service.js';
import { readAlertIds } from './topic-contents.js';

const workshop = new Workshop();
let server: S3Server;
beforeAll(async () => {
  server = await startS3Server(0);
  await server.addBucket('fraud-checkpoints');
});
afterAll(() => server.close());
afterEach(() => workshop.clear());

const flagsFor = (directory: string, place = 's3://fraud-checkpoints/test'): string[] => [
  `--data-dir=${directory}`,
  '--roles=detector',
  '--port=0',
  `--checkpoint-directory=${place}`,
  `--s3-endpoint=${server.endpoint}`,
  '--checkpoint-interval-ms=500',
  '--checkpoint-min-pause-ms=100',
  '--checkpoint-retained=1',
  '--watermark-idle-timeout-ms=86400000',
];
const env = {
  FRAUD_S3_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
  FRAUD_S3_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
};

describe('the service with checkpoints in S3', () => {
  it('goes on from them after a kill that takes its local state along', async () => {
    const directory = workshop.directory();
    const first = workshop.start([...flagsFor(directory), ...BUSY_DEMO], { env });
    const seen = new Set<string>();
    // Two of each task, so that the log was cut behind the older one: it alone could not tell the state any more.
    await first.until('two checkpoints of each task', async () => {
      for (const { checkpoint } of (await first.pipeline()).tasks) if (checkpoint.id !== null) seen.add(checkpoint.id);
      return seen.size >= 6;
    });
    process.kill(first.pid, 'SIGKILL');
    await first.ended;
    rmSync(path.join(directory, 'state'), { recursive: true });

    const second = workshop.start([...flagsFor(directory), '--no-demo'], { env });
    await caughtUp(second);
    const restored = [...`${second.stdout}${second.stderr}`.matchAll(/state restored from checkpoint (chk-\S+)/g)];
    expect(restored.length, second.said()).toBe(2);
    expect((await second.stop('SIGTERM')).code, second.said()).toBe(0);
    const alerts = await readAlertIds(directory);
    expect(alerts.length).toBeGreaterThan(0);
    expect(new Set(alerts).size).toBe(alerts.length);
  });

  it('runs on while S3 is away, and keeps checkpoints again once it is back', async () => {
    const service = workshop.start([...flagsFor(workshop.directory()), '--s3-deadline-ms=200', ...BUSY_DEMO], { env });
    const checkpoint = async () => (await service.pipeline()).tasks.map(({ checkpoint: { id } }) => id).join();
    await service.until('a checkpoint', async () => /^chk-.*,chk-/.test(await checkpoint()));
    await server.stop();
    await service.line(/checkpoint chk-\S+ failed: .*Cannot keep snapshot .*s3\.endpoint/);
    await service.until('what was under way has failed', async () =>
      (await service.pipeline()).tasks.every(({ checkpoint: { failures } }) => failures > 0),
    );
    const [before, { tasks }] = [await checkpoint(), await service.pipeline()];
    await service.until('payments go on', async () =>
      (await service.pipeline()).tasks.every(({ committedOffset }, i) => committedOffset > tasks[i].committedOffset),
    );
    expect(await checkpoint()).toBe(before);
    await server.startAgain();
    await service.until('a newer checkpoint', async () => (await checkpoint()) !== before);
    expect((await service.stop('SIGTERM')).code, service.said()).toBe(0);
  });

  it.each([
    [
      'a bucket that is not there',
      's3://no-such-bucket/x',
      {},
      /Make the bucket no-such-bucket.*\(object-store-missing-bucket\)/,
    ],
    [
      'a wrong key',
      's3://fraud-checkpoints/test',
      { FRAUD_S3_ACCESS_KEY_ID: 'other' },
      /Check s3\.accessKeyId.*\(object-store-denied\)/,
    ],
  ])('refuses to start with %s, and says what to do', async (_, place, wrong, message) => {
    const service = workshop.start(flagsFor(workshop.directory(), place), { env: { ...env, ...wrong } });
    const ended = await Promise.race([service.ended, wait(START_LIMIT_MS, null, { ref: false })]);
    expect(ended?.code, service.said()).toBe(1);
    expect(service.stderr).toMatch(message);
  });
});
