/**
 * Owns the look at nemeses one by one: payments flow, each strikes once, and what the services said meanwhile is shown,
 * so that one sees that it really struck, and how. It proves nothing: `npm run prove -- --cycles N` does.
 *
 *   npm run -s prove:nemeses -- [--nemeses a,b] [--cluster 1|3] [--secure] [--instances K] [--seed S] [--port P]
 */
import { readFileSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { playCycle, sourceEnds } from '../cycles/cycle.js';
import { feedCards, LiveFeed, worldMessages } from '../cycles/live-feed.js';
import { openStage, type Stage } from '../cycles/stage.js';
import { StateFollower } from '../state-follower.js';
import { nemesesNamed, possibleIn } from './catalogue.js';

const { values } = parseArgs({
  options: {
    nemeses: { type: 'string', default: '' },
    cluster: { type: 'string', default: '1' },
    secure: { type: 'boolean', default: false },
    instances: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    port: { type: 'string', default: '19700' },
    lines: { type: 'string', default: '8' },
  },
});

const PARTITIONS = 4;
const CARDS = 500;
const PER_SECOND = 400;
const FIRST_COMMITS_MS = 120_000;
const say = (line: string) => process.stdout.write(`${line}\n`);

const stage = await openStage({
  port: Number(values.port),
  partitions: PARTITIONS,
  brokers: values.cluster === '3' ? 3 : 1,
  secure: values.secure,
  instances: Number(values.instances),
  sessionTimeoutMs: 3_000,
  keep: false,
  projector: true,
  smallDisks: true,
  flags: ['--checkpoint-interval-ms=2000', '--memory-hot-keys=1024'],
});
try {
  process.exitCode = await tryAll(stage);
} catch (error) {
  stage.surroundings.keep();
  say(`logs of services and brokers: ${stage.surroundings.directory}`);
  throw error;
} finally {
  await stage.close();
}

/** The number of nemeses that services did not recover from. */
async function tryAll(on: Stage): Promise<number> {
  const { surroundings, place, source, slots, extra } = on;
  const { possible, reasons } = possibleIn(nemesesNamed(values.nemeses.split(',').filter(Boolean)), on.arena);
  for (const [name, reason] of reasons) say(`${name} is left out: ${reason}`);
  const cards = Array.from({ length: PARTITIONS }, () => feedCards(CARDS));
  const follower = await StateFollower.open(surroundings.backend, place.configuration.topics.stateLog, cards);
  for (const slot of slots) if (slot !== extra) slot.start();
  const writer = await surroundings.backend.openWriter();
  const seed = Number(values.seed);
  const messages = worldMessages({ partitions: PARTITIONS, rate: PER_SECOND, cards: CARDS, seed });
  const feed = LiveFeed.start({ writer, topic: source, perSecond: PER_SECOND, messages });
  let failed = 0;
  try {
    await follower.passed(await sourceEnds(on), FIRST_COMMITS_MS, 'the first commits');
    for (const [index, nemesis] of possible.entries()) {
      const logs = logsOf(on);
      const startedMs = performance.now();
      try {
        const { what, from, firstMs, allMs, takeoverMs, ownEnds } = await playCycle(
          on,
          follower,
          nemesis,
          seed,
          index + 1,
        );
        const others = takeoverMs === null ? '' : `, others took over in ${Math.round(takeoverMs)} ms`;
        say(`\n${nemesis.name}: ${what}`);
        say(`  first commit ${Math.round(firstMs)} ms, all ${Math.round(allMs)} ms after the ${from}${others}`);
        for (const end of ownEnds) say(`  ENDED BY ITSELF ${JSON.stringify(end)}`);
      } catch (error) {
        failed += 1;
        say(`\n${nemesis.name}: FAILED after ${Math.round(performance.now() - startedMs)} ms: ${String(error)}`);
        on.arena.proxy?.calm();
      }
      for (const [file, name, size] of logs) sayNew(file, name, size);
    }
    for (const problem of follower.problems) say(`PROBLEM ${problem}`);
    say(`\n${possible.length} nemeses struck, ${failed} were not recovered from; ${follower.epochs} epochs`);
    return failed + follower.problems.length;
  } finally {
    await feed.stop();
    await writer.close();
    await follower.close();
  }
}

/** Log, name and present size of each service. */
function logsOf({ slots }: Stage): readonly (readonly [string, string, number])[] {
  return slots.map(({ logFile, name }) => [logFile, name, sizeOf(logFile)]);
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** The warnings and errors that a service said since. */
function sayNew(file: string, name: string, since: number): void {
  if (sizeOf(file) <= since) return;
  const lines = readFileSync(file).subarray(since).toString('utf8').trim().split('\n');
  const worth = lines.filter((line) => !line.includes('"level":"info"') && !line.includes('"level":30'));
  const most = Number(values.lines);
  for (const line of worth.slice(0, most)) say(`  ${name}: ${line.slice(0, 260)}`);
  if (worth.length > most) say(`  ${name}: ... and ${worth.length - most} more`);
}
