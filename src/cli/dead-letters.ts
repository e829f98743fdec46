/**
 * Owns `fraud dead-letters`: lists what could not be read, shows one (card numbers masked), and puts some back into the
 * topic that they came from, byte for byte. Neighbour: `dead-letter-reading.ts` reads them.
 */
import { findGeneration } from '../app/generation.js';
import { detectionOf } from '../app/keying.js';
import { cleanText, clip } from '../app/terminal/text.js';
import { OffsetOutOfRangeError } from '../stream/errors.js';
import type { LogBackend, RecordWriter } from '../stream/ports.js';
import type { OutputRecord } from '../stream/records.js';
import {
  type Command,
  type Invocation,
  type Surroundings,
  textFlag,
  UsageError,
  wholeFlag,
  withBackend,
} from './command.js';
import { type DeadLetter, maskedText, readDeadLetters } from './dead-letter-reading.js';

const REPLAY_RECORDS = 500;

export const deadLettersCommand: Command = {
  name: 'dead-letters',
  words: 'list | show PARTITION/OFFSET | replay PARTITION/OFFSET …',
  summary: 'See what could not be read, and put it back into its topic once the reason is gone.',
  flags: {
    code: { kind: 'value', value: 'CODE', doc: 'Only those refused for this reason.' },
    limit: { kind: 'value', value: 'N', doc: 'list: the newest so many; default: 50.' },
    all: { kind: 'switch', doc: 'replay: all of them (with --code: of that reason).' },
    'dry-run': { kind: 'switch', doc: 'replay: say what would be put back, and leave it.' },
  },
  examples: [
    'fraud dead-letters list --code malformed-json',
    'fraud dead-letters show 0/17',
    'fraud dead-letters replay 0/17 1/4',
    'fraud dead-letters replay --all --code bad-format --dry-run',
  ],
  run: (invocation, surroundings) => {
    const [action, ...places] = invocation.words;
    const act = { list, show, replay }[action ?? ''];
    if (act === undefined) throw new UsageError('Say list, show or replay. See: fraud dead-letters --help');
    return withBackend(invocation, surroundings, { makeMissing: false }, (backend) =>
      act({ backend, invocation, surroundings, places }),
    );
  },
};

interface Action {
  readonly backend: LogBackend;
  readonly invocation: Invocation;
  readonly surroundings: Surroundings;
  readonly places: readonly string[];
}

const placeOf = (letter: DeadLetter): string => `${letter.partition}/${letter.offset}`;
const sourceOf = (letter: DeadLetter): string =>
  letter.source === null ? 'unknown' : `${letter.source.topic}/${letter.source.partition}/${letter.source.offset}`;

/** All dead letters that the flags name, partition by partition. */
async function* everyLetter({ backend, invocation, surroundings }: Action): AsyncGenerator<DeadLetter> {
  const topic = invocation.configuration.topics.deadLetters;
  const code = textFlag(invocation, 'code');
  const partitions = await partitionsOf(backend, topic);
  for (let partition = 0; partition < partitions; partition++) {
    for await (const letter of readDeadLetters(backend, topic, partition, 'earliest', surroundings.signal)) {
      if (code === null || letter.code === code) yield letter;
    }
  }
}

async function partitionsOf(backend: LogBackend, topic: string): Promise<number> {
  const admin = await backend.openAdmin();
  try {
    const count = await admin.partitionCount(topic);
    if (count === null) throw new UsageError(`There is no topic ${topic}; the pipeline makes it at its first start.`);
    return count;
  } finally {
    await admin.close();
  }
}

async function list(action: Action): Promise<number> {
  const { print, columns } = action.surroundings;
  const limit = wholeFlag(action.invocation, 'limit', 50, 1);
  const byCode = new Map<string, number>();
  let newest: DeadLetter[] = [];
  for await (const letter of everyLetter(action)) {
    byCode.set(letter.code, (byCode.get(letter.code) ?? 0) + 1);
    newest.push(letter);
    if (newest.length > 2 * limit + 1_000) newest = newestOf(newest, limit);
  }
  newest = newestOf(newest, limit);
  for (const letter of newest) {
    const at = new Date(letter.refusedAt).toISOString();
    const line = `${placeOf(letter).padEnd(8)} ${at}  ${letter.code}  from ${sourceOf(letter)}  ${cleanText(letter.message)}`;
    print(clip(line, Math.max(80, columns)));
  }
  const total = [...byCode.values()].reduce((sum, count) => sum + count, 0);
  const reasons = [...byCode].sort((a, b) => b[1] - a[1]).map(([code, count]) => `${code} ${count}`);
  print(total === 0 ? 'no dead letters' : `${counted(total)} (${reasons.join(', ')}), ${newest.length} shown`);
  return 0;
}

const counted = (count: number): string => (count === 1 ? '1 dead letter' : `${count} dead letters`);

const newestOf = (letters: readonly DeadLetter[], count: number): DeadLetter[] =>
  [...letters].sort((a, b) => a.refusedAt - b.refusedAt).slice(-count);

async function show(action: Action): Promise<number> {
  const { print } = action.surroundings;
  if (action.places.length === 0) throw new UsageError('Which one? fraud dead-letters show PARTITION/OFFSET');
  for (const letter of await lettersAt(action)) {
    print(`dead letter ${placeOf(letter)}, refused ${new Date(letter.refusedAt).toISOString()}`);
    print(`  code      ${letter.code}`);
    print(`  message   ${cleanText(letter.message)}`);
    print(
      `  from      ${sourceOf(letter)}${letter.source === null ? '' : `, ${new Date(letter.source.timestampMs).toISOString()}`}`,
    );
    print(`  pipeline  ${letter.pipelineVersion || 'unknown'}`);
    print(`  key       ${maskedText(letter.key)}`);
    print(`  value     ${maskedText(letter.value)}`);
  }
  return 0;
}

/** The letters at the given places. Errors: {@link UsageError} for a place that holds none. */
async function lettersAt({ backend, invocation, surroundings, places }: Action): Promise<readonly DeadLetter[]> {
  const topic = invocation.configuration.topics.deadLetters;
  const partitions = await partitionsOf(backend, topic);
  const letters: DeadLetter[] = [];
  for (const place of places) {
    const [, partition, offset] = (/^(\d+)\/(\d+)$/.exec(place) ?? []).map(Number);
    if (partition === undefined || partition >= partitions) {
      throw new UsageError(`${place} is no place; write PARTITION/OFFSET as list shows it, such as 0/17.`);
    }
    const letter = await firstOf(readDeadLetters(backend, topic, partition, offset, surroundings.signal));
    if (letter?.offset !== offset) throw new UsageError(`There is no dead letter at ${place}.`);
    letters.push(letter);
  }
  return letters;
}

/** The first one; null where there is none, or where the offset asked for is outside of the log. */
async function firstOf(letters: AsyncGenerator<DeadLetter>): Promise<DeadLetter | null> {
  try {
    for await (const letter of letters) return letter;
  } catch (error) {
    if (!(error instanceof OffsetOutOfRangeError)) throw error;
  }
  return null;
}

async function replay(action: Action): Promise<number> {
  const { invocation, surroundings, places } = action;
  const wantsAll = invocation.flags.has('all');
  if (wantsAll === places.length > 0) {
    throw new UsageError('Name places (fraud dead-letters replay 0/17), or --all, with --code for one reason.');
  }
  const letters = wantsAll ? everyLetter(action) : await lettersAt(action);
  const present = await presentSource(action);
  const dryRun = invocation.flags.has('dry-run');
  const writer = dryRun ? null : await action.backend.openWriter();
  let replayed = 0;
  let homeless = 0;
  try {
    let waiting: OutputRecord[] = [];
    for await (const letter of letters) {
      if (letter.source === null) {
        homeless++;
        continue;
      }
      waiting.push(originalOf(letter, letter.source, present, surroundings.clock.now()));
      if (waiting.length < REPLAY_RECORDS) continue;
      replayed += await send(writer, waiting);
      waiting = [];
    }
    replayed += await send(writer, waiting);
  } finally {
    await writer?.close();
    surroundings.print(`${counted(replayed)} ${dryRun ? 'would be ' : ''}put back into their topic`);
    if (homeless > 0) surroundings.print(`${homeless} left: their headers do not say where they came from`);
  }
  return homeless > 0 || surroundings.signal.aborted ? 1 : 0;
}

/** The topic that the pipeline reads now, and those that it read before it was rescaled. */
interface PresentSource {
  readonly topic: string;
  readonly earlier: ReadonlySet<string>;
  readonly wasRescaled: boolean;
}

async function presentSource({ backend, invocation }: Action): Promise<PresentSource> {
  const admin = await backend.openAdmin();
  try {
    const configuration = detectionOf(invocation.configuration);
    const { lineage, current } = await findGeneration({ configuration, backend, admin });
    const earlier = new Set(lineage.map(({ source }) => source));
    return {
      topic: current.source,
      earlier,
      wasRescaled: lineage.some(({ partitions }) => partitions !== current.partitions),
    };
  } finally {
    await admin.close();
  }
}

/**
 * Key and bytes as they came, to the partition that they came from. After a rescale that may be another's now, or nobody
 * reads the topic any more: then the key says where it belongs.
 */
function originalOf(
  letter: DeadLetter,
  source: NonNullable<DeadLetter['source']>,
  present: PresentSource,
  nowMs: number,
): OutputRecord {
  const { key, value } = letter;
  const record = { key, value, headers: [], timestampMs: nowMs };
  const hasMoved = present.earlier.has(source.topic) && source.topic !== present.topic;
  const isReplaced = hasMoved || (source.topic === present.topic && present.wasRescaled);
  if (isReplaced) return { ...record, topic: present.topic, ...(key === null ? { partition: 0 } : {}) };
  return { ...record, topic: source.topic, partition: source.partition };
}

async function send(writer: RecordWriter | null, records: readonly OutputRecord[]): Promise<number> {
  if (writer !== null && records.length > 0) await writer.write(records);
  return records.length;
}
