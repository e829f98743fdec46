/**
 * `npm run -s prove:registry -- [--seconds 100] [--rate 2000] [--outage 60] [--json]`: a schema registry that
 * hangs in mid-stream. Python writes Avro in two schema versions at a steady rate, and in a third one that the pipeline
 * has not met when the registry stops answering. Shown: what was known goes on, what was not waits, nothing is lost, and
 * the alerts are those of an undisturbed run over the same topic.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { cardWorld } from '../../src/fraud/world/card-world.js';
import { readAlerts, readTopic } from '../prove/outputs.js';
import { projectRoot } from '../prove/project.js';
import { startService } from '../prove/service.js';
import { type RunPlace, type Surroundings, setUp } from '../prove/setting-up.js';
import { StateFollower } from '../prove/state-follower.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '100' },
    rate: { type: 'string', default: '2000' },
    outage: { type: 'string', default: '60' },
    port: { type: 'string', default: '19575' },
    'registry-port': { type: 'string', default: '18082' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const rate = Number(values.rate);
const outageSeconds = Number(values.outage);
const PARTITIONS = 2;
const CARDS = 20_000;
const PATIENCE_MS = 180_000;
const total = seconds * rate;
const say = (line: string) => process.stderr.write(`${line}\n`);

// Node runs this file as it is; its own folder tells it where the registry lies.
const source = pathToFileURL(join(projectRoot, 'scripts', 'registry', 'apicurio.ts')).href;
const { startRegistry } = (await import(source)) as typeof import('./apicurio.js');
const surroundings = await setUp({ port: Number(values.port), partitions: PARTITIONS });
const registry = await startRegistry({
  port: Number(values['registry-port']),
  output: surroundings.path('registry.log'),
});
let isRight = false;
try {
  const topic = await surroundings.inputTopic('avro');
  const file = surroundings.path('payments.ndjson');
  await writePayments(file);
  const disturbed = await runThroughOutage(topic, file);
  say('the same topic again, undisturbed');
  const calm = await follow(surroundings, 'calm', topic);
  await calm.until(total);
  await calm.end();
  const [alerts, expected] = [await outcomes(disturbed.place), await outcomes(calm.place)];
  const deadLetters = await readTopic(surroundings.backend, disturbed.place.configuration.topics.deadLetters);
  const figures = {
    ...disturbed.figures,
    written: total,
    processed: disturbed.remembered,
    deadLetters: deadLetters.length,
    alerts: alerts.length,
    alertsEqual: JSON.stringify(alerts) === JSON.stringify(expected),
  };
  isRight = figures.processed + figures.deadLetters === total && figures.alertsEqual && alerts.length > 0;
  for (const [name, value] of Object.entries(figures)) say(`  ${name.padEnd(28)} ${value}`);
  process.stdout.write(`${values.json ? JSON.stringify(figures) : isRight ? 'nothing was lost' : 'NOT RIGHT'}\n`);
} finally {
  registry.resume();
  await registry.kill();
  await surroundings.close();
}
process.exit(isRight ? 0 : 1);

async function runThroughOutage(topic: string, file: string) {
  const run = await follow(surroundings, 'outage', topic);
  // Both tasks have made their start durable: from now on what is written is read at once.
  await run.ready();
  const beginAt = Math.round(seconds * 0.2);
  // The third version comes a quarter into the outage.
  const thirdFrom = Math.round((beginAt + outageSeconds / 4) * rate);
  const producer = spawn(
    'python3',
    [
      ...[join(projectRoot, 'examples', 'produce-avro', 'produce.py'), '--file', file, '--topic', topic],
      ...['--brokers', surroundings.brokers.join(','), '--registry', registry.url, '--versions', '1,2'],
      ...['--later', `3@${thirdFrom}`, '--count', String(total), '--rate', String(rate)],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const produced = new Promise<number>((resolve) => producer.once('exit', (code) => resolve(code ?? 1)));
  process.once('exit', () => producer.kill('SIGKILL'));
  await run.until(1);
  const startedAt = performance.now();
  const sent = () => Math.min(total, Math.round(((performance.now() - startedAt) / 1_000) * rate));
  await sleep(beginAt * 1_000);
  registry.suspend();
  const committedBefore = run.committed();
  say(`registry hangs at ${committedBefore} payments committed; a third schema comes at payment ${thirdFrom}`);
  await sleep(outageSeconds * 1_000);
  const committedDuring = run.committed() - committedBefore;
  const lagAtEnd = sent() - run.committed();
  registry.resume();
  const resumedAt = performance.now();
  say(`registry is back: ${committedDuring} payments were committed meanwhile, about ${lagAtEnd} wait`);
  while (sent() - run.committed() > rate / 2) await sleep(50);
  const lagGoneSeconds = Math.round((performance.now() - resumedAt) / 100) / 10;
  if ((await produced) !== 0) throw new Error('the Python producer failed');
  await run.until(total);
  const remembered = run.remembered();
  await run.end();
  const figures = { ratePerSecond: rate, outageSeconds, committedDuring, lagAtEnd, lagGoneSeconds };
  return { place: run.place, remembered, figures };
}

async function follow({ backend }: Surroundings, name: string, topic: string) {
  const flags = ['--payments-format=avro', `--registry-url=${registry.url}`];
  const place = await surroundings.place(name, topic, flags);
  const follower = await StateFollower.open(backend, place.configuration.topics.stateLog, [CARDS, CARDS]);
  const log = surroundings.path(name, 'service.log');
  const service = startService([...place.flags, `--data-dir=${surroundings.path(name, 'data')}`], log);
  const committed = () => follower.committed.reduce((sum, offset) => sum + offset, 0);
  return {
    place,
    committed,
    ready: () => follower.when(() => follower.epochs >= PARTITIONS, PATIENCE_MS, 'the start', service.unexpectedEnd),
    remembered: () => follower.rememberedPayments,
    until: (count: number) =>
      follower.when(() => committed() >= count, PATIENCE_MS, `${count} payments`, service.unexpectedEnd),
    end: async () => {
      await service.stop();
      await follower.close();
      say(
        service
          .said()
          .split('\n')
          .filter((line) => line.includes('registry'))
          .join('\n'),
      );
    },
  };
}

async function outcomes({ configuration }: RunPlace): Promise<readonly string[]> {
  const alerts = await readAlerts(surroundings.backend, configuration.topics.alerts);
  return alerts.map(({ id, digest }) => `${id} ${digest}`).sort();
}

async function writePayments(file: string): Promise<void> {
  if (existsSync(file)) return;
  const world = cardWorld({
    seed: 4,
    cards: CARDS,
    merchants: 1_000,
    startMs: Date.UTC(2025, 0, 1),
    fraudPerThousand: 5,
  });
  const out = createWriteStream(file);
  for (let written = 0; written < total; ) {
    for (const { value } of world.next(Number.MAX_SAFE_INTEGER, Math.min(2_000, total - written))) {
      if (value === null) continue;
      written += 1;
      out.write(`${value}\n`);
    }
  }
  await new Promise<void>((resolve) => out.end(resolve));
}
