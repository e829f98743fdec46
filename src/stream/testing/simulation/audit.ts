/**
 * Owns what is checked once everything has come to rest: outputs against the oracle's multisets, every place that state
 * can be recovered from against the oracle's cards, and that the log is left clean.
 */
import type { SavepointManifest } from '../../checkpoint/savepoint-manifest.js';
import { Savepoints } from '../../checkpoint/savepoints.js';
import { ByteReader } from '../../state/byte-writer.js';
import { makeColumns } from '../../state/layout.js';
import { decodeStoredValue } from '../../state/stored-form.js';
import { ValueCodec } from '../../state/value-codec.js';
import type { MemoryDisk } from '../memory-store.js';
import type { Generation } from './generation.js';
import { Violation } from './journal.js';
import type { Lineage } from './lineage.js';
import type { Expected, ReferenceCard } from './reference.js';
import type { SimulatedLog } from './simulated-log.js';
import { layout, NAME, RECENT, TOPICS } from './simulated-pipeline.js';
import type { World } from './world.js';

/** Every record taken, outputs as expected, nothing left open. `expected` is of all generations, by partition. */
export function checkOutputs(log: SimulatedLog, lineage: Lineage, expected: readonly (readonly Expected[])[]): void {
  const { generations } = lineage;
  for (const [index, generation] of generations.entries()) {
    // What is left there was for the next one.
    if (generations[index + 1]?.source === generation.source) continue;
    for (let partition = 0; partition < generation.partitions; partition++) {
      const last = log.partition(generation.source, partition).history().at(-1);
      const committed = lineage.committedTo(generation, partition);
      if (last === undefined || last.offset < committed) continue;
      throw new Violation(
        'I2',
        `${generation.source}/${partition} is committed up to ${committed}, its last record is ${last.offset}`,
      );
    }
  }
  const all = expected.flat();
  compare('alerts', alertsOf(log), all.flatMap(({ alerts }) => alerts).sort());
  compare('merchant-input', valuesOf(log, TOPICS.merchants), all.flatMap(({ merchants }) => merchants).sort());
  compare('dead letters', deadOf(log), all.flatMap(({ dead }) => dead).sort());
  const [open] = log.openTransactions;
  if (open !== undefined) throw new Violation('open', `a transaction of ${open.owner} is ${open.state} at rest`);
}

/** The store under `root` holds what the oracle does: values, and an entry for each key with a timer. */
export function checkState(
  disk: MemoryDisk,
  root: string,
  where: string,
  expected: readonly Expected[],
  partitions: readonly number[],
): void {
  for (const partition of partitions) {
    const { cards } = expected[partition];
    const { entries } = disk.directory(`${root}/${NAME}-${partition}`);
    compare(`state of partition ${partition}, ${where}`, storedCards(entries ?? new Map()), expectedCards(cards));
  }
}

/** Each task is in the savepoint as it was at the epoch that the savepoint says. */
export async function checkSavepoint(
  { objects }: World,
  lineage: Lineage,
  { number }: Generation,
  { name, tasks }: SavepointManifest,
): Promise<void> {
  const savepoints = new Savepoints(objects);
  const epochs = tasks.map(({ resume }) => resume.epoch);
  const expected = lineage.expected({ generation: number, epochs })[number - 1];
  const columns = makeColumns(layout, 1);
  const codec = new ValueCodec(layout, columns);
  for (const task of tasks) {
    const lines: string[] = [];
    for await (const entries of savepoints.entries(task)) {
      for (const { key, value } of entries) {
        codec.read(new ByteReader(value), 0);
        lines.push(`${key}: ${cardLine(columns)}`);
      }
    }
    const { cards, maxEventTimeMs, table, offset } = expected[task.partition];
    const what = `${task.taskId} as of epoch ${task.resume.epoch} in ${name}`;
    const wanted = expectedCards(cards).filter((line) => !line.includes(': timers '));
    compare(what, lines.sort(), wanted);
    const { resume } = task;
    const told = [resume.sourceOffset ?? 0, resume.maxEventTimeMs, resume.cursors.table ?? 0].join(' ');
    compare(`${what}: offset, event time, table`, [told], [[offset, maxEventTimeMs, table].join(' ')]);
  }
}

function expectedCards(cards: ReadonlyMap<string, ReferenceCard>): string[] {
  const lines: string[] = [];
  for (const [key, card] of cards) {
    const { count, sum, risk, quietMs, tickMs, ticks, quiets, tables } = card;
    const recent = card.recent.map(({ value, offset }) => `${value}@${offset}`).join(' ');
    const numbers = [count, sum, risk, quietMs, tickMs, ticks, quiets];
    lines.push(`${key}: ${numbers.join(' ')} | ${recent} | ${tables.join(' ')}`);
    const due = [quietMs, tickMs].filter((at) => at > 0);
    if (due.length > 0) lines.push(`${key}: timers ${due.join(' ')}`);
  }
  return lines.sort();
}

function storedCards(entries: ReadonlyMap<string, Uint8Array>): string[] {
  const columns = makeColumns(layout, 1);
  const codec = new ValueCodec(layout, columns);
  const lines: string[] = [];
  for (const [stored, value] of entries) {
    const key = stored.slice(1);
    const bytes = Buffer.from(value);
    if (stored[0] === '\u0001') {
      decodeStoredValue(new ByteReader(bytes), layout, codec, 0, Buffer.from(key, 'latin1'));
      lines.push(`${key}: ${cardLine(columns)}`);
    }
    if (stored[0] === '\u0002') {
      const due = Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(i * 8));
      lines.push(`${key}: timers ${due.join(' ')}`);
    }
  }
  return lines.sort();
}

function cardLine(columns: ReturnType<typeof makeColumns<typeof layout.fields>>): string {
  const { count, sum, risk, quiet, tick, ticks, quiets, recent, tables } = columns;
  const entries = Array.from({ length: Math.min(recent.length(0), RECENT) }, (_, back) => {
    const at = recent.newest(0, back);
    return `${recent.entry.value[at]}@${recent.entry.offset[at]}`;
  });
  const versions = Array.from({ length: tables.length(0) }, (_, back) => tables.entry.version[tables.newest(0, back)]);
  const numbers = [count[0], sum[0], risk[0], quiet.due[0], tick.due[0], ticks[0], quiets[0]];
  return `${numbers.join(' ')} | ${entries.join(' ')} | ${versions.join(' ')}`;
}

/** Without take-ups, which the reference has checked, and without what depends on the lookup's luck. */
function alertsOf(log: SimulatedLog): string[] {
  const lines: string[] = [];
  for (const text of valuesOf(log, TOPICS.alerts)) {
    const { lookedUp, ...body } = JSON.parse(text) as { took?: number; lookedUp?: boolean };
    if (body.took === undefined) lines.push(JSON.stringify(body));
  }
  return lines.sort();
}

function valuesOf(log: SimulatedLog, topic: string): string[] {
  return log
    .partitions(topic)
    .flatMap((partition) => partition.history().map(({ value }) => String(value)))
    .sort();
}

function deadOf(log: SimulatedLog): string[] {
  const offsetOf = (headers: readonly (readonly [string, Buffer])[]) =>
    headers.find(([name]) => name === 'source.offset')?.[1].toString() ?? 'none';
  return log
    .partitions(TOPICS.dead)
    .flatMap((partition) => partition.history().map(({ headers, value }) => `${offsetOf(headers)} ${String(value)}`))
    .sort();
}

/** Both sorted. Errors: names the first lines that only one side has. */
function compare(what: string, actual: readonly string[], expected: readonly string[]): void {
  const left = new Map<string, number>();
  for (const line of expected) left.set(line, (left.get(line) ?? 0) + 1);
  for (const line of actual) left.set(line, (left.get(line) ?? 0) - 1);
  const missing = [...left].filter(([, count]) => count > 0);
  const foreign = [...left].filter(([, count]) => count < 0);
  if (missing.length === 0 && foreign.length === 0) return;
  const some = (lines: readonly (readonly [string, number])[]) => lines.slice(0, 3).map(([line]) => line);
  throw new Violation(
    what,
    `${missing.length} missing, such as ${some(missing).join(' · ') || '-'}; ${foreign.length} too many, such as ${some(foreign).join(' · ') || '-'}`,
  );
}
