/**
 * Owns what is checked once everything has come to rest: outputs against the oracle's multisets, every place that state
 * can be recovered from against the oracle's cards, and that the log is left clean.
 */
import { ByteReader } from '../../state/byte-writer.js';
import { makeColumns } from '../../state/layout.js';
import { decodeStoredValue } from '../../state/stored-form.js';
import { ValueCodec } from '../../state/value-codec.js';
import type { MemoryDisk } from '../memory-store.js';
import { type Journal, Violation } from './journal.js';
import { type Expected, type ReferenceCard, reference } from './reference.js';
import type { SchedulePlan } from './schedule-plan.js';
import type { SimulatedLog } from './simulated-log.js';
import { layout, NAME, RECENT, TOPICS } from './simulated-pipeline.js';

/** What must be true of each partition now. Errors: {@link Violation} of the journal and of broadcast take-ups. */
export function expectedOf(plan: SchedulePlan, log: SimulatedLog, journal: Journal): readonly Expected[] {
  return Array.from({ length: plan.partitions }, (_, partition) =>
    reference({
      outOfOrdernessMs: plan.outOfOrdernessMs,
      idles: plan.options.idleTimeoutMs > 0,
      source: log.partition(TOPICS.source, partition).history(),
      table: log.partition(TOPICS.table, 0).history(),
      epochs: journal.of(partition),
    }),
  );
}

/** Every record taken, outputs as expected, nothing left open. */
export function checkOutputs(log: SimulatedLog, journal: Journal, expected: readonly Expected[]): void {
  for (const [partition] of expected.entries()) {
    const last = log.partition(TOPICS.source, partition).history().at(-1);
    const committed = journal.committedTo(partition);
    if (last !== undefined && last.offset >= committed) {
      throw new Violation(
        'I2',
        `partition ${partition} is committed up to ${committed}, its last record is ${last.offset}`,
      );
    }
  }
  compare('alerts', alertsOf(log), expected.flatMap(({ alerts }) => alerts).sort());
  compare('merchant-input', valuesOf(log, TOPICS.merchants), expected.flatMap(({ merchants }) => merchants).sort());
  compare('dead letters', deadOf(log), expected.flatMap(({ dead }) => dead).sort());
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
