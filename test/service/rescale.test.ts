/**
 * A pipeline brought from 4 to 6 to 2 partitions keeps every card's state and makes the alerts of one that always had
 * the same number; a rescale that is killed goes on when it is run again, or is taken back.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findGeneration } from '../../src/app/generation.js';
import { openObjects } from '../../src/app/objects.js';
import { rescale, undoRescale } from '../../src/app/rescale.js';
import { savepointPlace } from '../../src/app/savepoints.js';
import { Savepoints } from '../../src/stream/checkpoint/savepoints.js';
import type { TopicAdmin } from '../../src/stream/ports.js';
import { typescriptFlags } from '../support/child.js';
import { lastPayments, type Outcome, paymentsInPieces, RescaleWorld, type WorldPayment } from './rescale-world.js';
import { ROOT } from './service.js';

const PAYMENTS = 3_000;
const directory = mkdtempSync(path.join(tmpdir(), 'rescale-'));
const open = new Set<RescaleWorld>();

afterEach(async () => {
  for (const world of open) await world.close();
  open.clear();
});
afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));

async function world(name: string, ...flags: readonly string[]): Promise<RescaleWorld> {
  const opened = await RescaleWorld.open([`--data-dir=${path.join(directory, name)}`, ...flags]);
  open.add(opened);
  return opened;
}

async function closed(opened: RescaleWorld): Promise<void> {
  open.delete(opened);
  await opened.close();
}

const request = (partitions: number, source: string | null = null) => ({ partitions, source, force: false });

describe('rescaling on the embedded log', () => {
  const pieces = paymentsInPieces(PAYMENTS, 3);
  let undisturbed: Outcome;

  beforeAll(async () => {
    const steady = await world('steady', '--partitions=3');
    await steady.prepare();
    await steady.pay([...pieces.flat(), ...lastPayments()]);
    await steady.run();
    undisturbed = await steady.outcome('end');
    expect(undisturbed.alerts.length).toBeGreaterThan(20);
    expect(
      undisturbed.alerts.some((alert) => /^tested-\S+ null: /.test(alert)),
      'an alert of a timer',
    ).toBe(true);
    expect(undisturbed.cards.size).toBeGreaterThan(150);
  });

  it('keeps every card’s state and makes the same alerts over 4, 6 and 2 partitions', async () => {
    const moving = await world('moving', '--partitions=4');
    await moving.prepare();
    await moving.pay(pieces[0]);
    await moving.run();
    expect(await rescale(moving.parts, request(6))).toMatchObject({
      after: { number: 2, partitions: 6, stateLog: 'fraud.state-g2' },
    });
    expect(await moving.admin.partitionCount('payments.raw')).toBe(6);

    await moving.pay(pieces[1]);
    await moving.run();
    await rescale(moving.parts, request(2, 'payments.two'));
    expect(await moving.generation()).toMatchObject({ number: 3, partitions: 2, source: 'payments.two' });

    await moving.pay([...pieces[2], ...lastPayments()]);
    await moving.run();
    const outcome = await moving.outcome('end');
    expect(outcome.alerts).toEqual(undisturbed.alerts);
    expect([...outcome.cards].sort()).toEqual([...undisturbed.cards].sort());
  });

  it('refuses while records wait that the new layout would give to another task, and leaves everything as it was', async () => {
    const waiting = await world('waiting', '--partitions=2');
    await waiting.prepare();
    await waiting.pay(pieces[0].slice(0, 200));
    await waiting.run();
    const [late] = [pieces[1].slice(0, 50)];
    await waiting.pay(late);
    await expect(rescale(waiting.parts, request(3))).rejects.toMatchObject({
      code: 'not-drained',
      message: expect.stringMatching(/payments\.raw\/0: \d+ records? from offset \d+ on/),
    });
    await expect(rescale(waiting.parts, request(2, 'payments.new'))).rejects.toMatchObject({ code: 'not-drained' });
    expect(await waiting.generation()).toMatchObject({ number: 1, partitions: 2 });
    expect(await waiting.admin.partitionCount('payments.raw')).toBe(2);
    await waiting.run();
    expect(await rescale(waiting.parts, request(3))).toMatchObject({ after: { number: 2, partitions: 3 } });
    expect(await rescale(waiting.parts, request(3))).toMatchObject({ savepoint: null });
    await expect(rescale(waiting.parts, request(2))).rejects.toMatchObject({
      code: 'rescale-source',
      message: expect.stringContaining('--source'),
    });
  });

  it('is taken back where the state’s keys are not those of the records', async () => {
    const foreign = await world('foreign', '--partitions=1');
    await foreign.prepare();
    const byMerchant = pieces[0]
      .slice(0, 300)
      .map(({ value }): WorldPayment => ({ key: Buffer.from(`pan-${JSON.parse(String(value)).cardId}`), value }));
    await foreign.pay(byMerchant);
    await foreign.run();
    await expect(rescale(foreign.parts, request(2))).rejects.toMatchObject({ code: 'keys-foreign' });
    expect(await findGeneration(foreign.parts)).toMatchObject({ current: { number: 1 }, pending: null });
    const objects = await openObjects(savepointPlace(foreign.configuration), foreign.configuration);
    expect(await new Savepoints(objects).list()).toEqual([]);
    await foreign.pay(pieces[0].slice(300, 310));
    await foreign.run();
  });

  it('stops where it was taken back while it slept, and the state of then is never taken for a later one', async () => {
    const slow = await world('slow', '--partitions=2');
    await slow.prepare();
    await slow.pay(pieces[0]);
    await slow.run();
    const sleeping = asleep(slow.admin, 'ensure', ([specs]) => specs.some(({ name }) => name === 'fraud.state-g2'));
    const late = rescale({ ...slow.parts, admin: sleeping.admin }, request(3, 'payments.three'));
    const ended = expect(late).rejects.toMatchObject({ code: 'generation-reopened' });
    await sleeping.reached;
    expect(await undoRescale(slow.parts)).toMatchObject({ number: 1 });
    sleeping.wake();
    await ended;

    await slow.pay(pieces[1]);
    await slow.run();
    const { cards } = await slow.outcome('before');
    await rescale(slow.parts, request(3, 'payments.three'));
    expect(await slow.generation()).toMatchObject({ number: 2, partitions: 3 });
    await slow.run();
    expect([...(await slow.outcome('after')).cards].sort()).toEqual([...cards].sort());
  });

  it('is taken back where payments are written right until the source grows', async () => {
    const busy = await world('busy', '--partitions=2');
    await busy.prepare();
    await busy.pay(pieces[0].slice(0, 200));
    await busy.run();
    const growing = asleep(busy.admin, 'grow', () => true);
    const moving = rescale({ ...busy.parts, admin: growing.admin }, request(3));
    const ended = expect(moving).rejects.toMatchObject({ code: 'not-drained' });
    await growing.reached;
    const writer = await busy.backend.openWriter();
    const late = { topic: 'payments.raw', headers: [], timestampMs: 0 };
    await writer.write(pieces[1].slice(0, 50).map((payment) => ({ ...payment, ...late })));
    await writer.close();
    growing.wake();
    await ended;
    expect(await findGeneration(busy.parts)).toMatchObject({ current: { number: 1 }, pending: null });
    await busy.run();
    expect(await rescale(busy.parts, request(3))).toMatchObject({ after: { number: 2, partitions: 3 } });
  });

  it('goes on where it was killed, at whatever step, and can be taken back until it is complete', async () => {
    const name = 'killed';
    const flags = [`--data-dir=${path.join(directory, name)}`];
    const killed = await world(name, '--partitions=4');
    await killed.prepare();
    await killed.pay([...pieces[0], ...pieces[1]]);
    await killed.run();
    await closed(killed);

    await killAt(/-4: begins generation 2/, flags);
    await refusesToRun(name);
    expect(await command(['--undo', ...flags])).toMatchObject({
      code: 0,
      said: expect.stringContaining('taken back: generation 1 goes on'),
    });
    for (const step of [/generation 1 is sealed/, /-2: \d+ keys .* saved/, /-0: begins generation 2/]) {
      await killAt(step, flags);
      await refusesToRun(name);
    }
    expect(await command(['--partitions=5', ...flags])).toMatchObject({
      code: 1,
      said: expect.stringContaining('generation-unready'),
    });
    expect(await command(['--partitions=6', ...flags])).toMatchObject({
      code: 0,
      said: expect.stringContaining('rescaled from 4 to 6'),
    });
    expect(await command(['--undo', ...flags])).toMatchObject({
      code: 0,
      said: expect.stringContaining('nothing to take back'),
    });

    const after = await world(name);
    await after.pay([...pieces[2], ...lastPayments()]);
    await after.run();
    const outcome = await after.outcome('end');
    expect(outcome.alerts).toEqual(undisturbed.alerts);
    expect([...outcome.cards].sort()).toEqual([...undisturbed.cards].sort());
  });
});

/** An admin whose first call of `method` that `when` knows waits until it is woken. */
function asleep<M extends 'ensure' | 'grow'>(
  admin: TopicAdmin,
  method: M,
  when: (given: Parameters<TopicAdmin[M]>) => boolean,
): { readonly admin: TopicAdmin; readonly reached: Promise<void>; wake(): void } {
  const reached = Promise.withResolvers<void>();
  const woken = Promise.withResolvers<void>();
  const sleeping = new Proxy(admin, {
    get(target, name: keyof TopicAdmin) {
      const call = target[name] as (...given: unknown[]) => Promise<unknown>;
      if (name !== method) return call.bind(target);
      return async (...given: unknown[]) => {
        if (when(given as Parameters<TopicAdmin[M]>)) {
          reached.resolve();
          await woken.promise;
        }
        return call.apply(target, given);
      };
    },
  });
  return { admin: sleeping, reached: reached.promise, wake: () => woken.resolve() };
}

async function refusesToRun(name: string): Promise<void> {
  const half = await world(name);
  await expect(half.generation()).rejects.toMatchObject({
    code: 'generation-unready',
    message: expect.stringContaining('--undo'),
  });
  await closed(half);
}

function start(words: readonly string[]): ChildProcess {
  const entry = path.join(ROOT, 'src/cli/process.ts');
  const quiet = ['--disable-warning=ExperimentalWarning', '--disable-warning=TimeoutNegativeWarning'];
  return spawn(process.execPath, [...quiet, ...typescriptFlags, entry, 'rescale', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function command(words: readonly string[]): Promise<{ code: number | null; said: string }> {
  const child = start(words);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (said += String(chunk)));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, said };
}

/** Runs `fraud rescale --partitions 6` and kills it (-9) once it says this. */
async function killAt(step: RegExp, flags: readonly string[]): Promise<void> {
  const child = start(['--partitions=6', ...flags]);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let isThere = false;
  let said = '';
  for await (const line of createInterface({ input: child.stderr as NodeJS.ReadableStream })) {
    said += `${line}\n`;
    if (!step.test(line)) continue;
    isThere = true;
    child.kill('SIGKILL');
    break;
  }
  await ended;
  expect(isThere, `it ended before it said ${step}:\n${said}`).toBe(true);
}
