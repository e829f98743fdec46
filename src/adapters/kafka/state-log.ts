/**
 * Owns reading a task's state-log partition from an offset to its committed end, with one fetch ahead.
 * Neighbours: `epoch-log.ts` offers it to the task; `records/decode.ts` walks what fetches bring.
 */
import { API_ERROR } from 'kafka-ts';
import { OffsetOutOfRangeError } from '../../stream/errors.js';
import { RecordBatch } from '../../stream/records.js';
import { KafkaError, refused } from './errors.js';
import { type Leaders, offsetOf, withLeader } from './leader.js';
import { endOfRecords, RecordSet } from './records/decode.js';
import { Deadline, pause } from './waiting.js';
import { FETCH, type FetchAnswer } from './wire/fetch.js';

export interface StateLogPlace {
  readonly topic: string;
  readonly partition: number;
}

export interface CommittedRange {
  readonly start: number;
  readonly end: number;
}

const FETCH_BYTES = 4 * 1024 * 1024;
const FETCH_WAIT_MS = 100;
const BATCH_RECORDS = 256;

/**
 * The range kept and committed. EndTxn is acknowledged some ms before its markers are written: waits until the end is
 * at least `visibleTo`, behind what the asking owner itself committed.
 */
export async function committedRange(
  leaders: Leaders,
  place: StateLogPlace,
  visibleTo: number,
): Promise<CommittedRange> {
  const { topic, partition } = place;
  const start = await offsetOf(leaders, topic, partition, 'start');
  const deadline = new Deadline(leaders.deadlineMs);
  for (;;) {
    const end = await offsetOf(leaders, topic, partition, 'committed-end');
    if (end >= visibleTo) return { start, end };
    if (deadline.passed) {
      throw new KafkaError(
        'kafka-unreachable',
        `${topic}-${partition} shows commits up to ${end} and not up to ${visibleTo} within ${deadline.budgetMs} ms; look for a Kafka transaction that hangs`,
      );
    }
    await pause(2);
  }
}

/** Hands over every committed value from `fromOffset` to `range.end`, in order; returns `range.end`. */
export async function readCommitted(
  leaders: Leaders,
  place: StateLogPlace,
  fromOffset: number,
  range: CommittedRange,
  onRecord: (value: Buffer, offset: number, nextOffset: number) => void | Promise<void>,
): Promise<number> {
  const { topic, partition } = place;
  if (fromOffset < range.start || fromOffset > range.end) throw outOfRange(place, fromOffset, range);
  const batch = new RecordBatch(BATCH_RECORDS);
  let at = fromOffset;
  let fetching = at < range.end ? fetchAt(leaders, place, at, range) : null;
  while (fetching !== null) {
    const answer: FetchAnswer = await fetching;
    const set: RecordSet = new RecordSet(topic, partition, answer.records, at, answer.aborted);
    // Nothing may have come (a slow replica): then the same offset is asked for again.
    at = endOfRecords(answer.records) ?? at;
    fetching = at < range.end ? fetchAt(leaders, place, at, range) : null;
    // Awaited above in the next turn; until then a failure must not count as unhandled.
    fetching?.catch(() => {});
    for (let count = set.fill(batch); count > 0; count = set.fill(batch)) {
      for (let i = 0; i < count && batch.offset[i] < range.end; i++) {
        const value = batch.value(i);
        const handled = value === null ? undefined : onRecord(value, batch.offset[i], batch.offset[i] + 1);
        if (handled !== undefined) await handled;
      }
    }
  }
  return range.end;
}

async function fetchAt(
  leaders: Leaders,
  place: StateLogPlace,
  offset: number,
  range: CommittedRange,
): Promise<FetchAnswer> {
  const { topic, partition } = place;
  return withLeader(leaders, topic, partition, 'Fetch', async (leader, view) => {
    const answer = await leaders.links.askNode(leader, FETCH, {
      topic,
      topicId: view.id,
      partition,
      leaderEpoch: view.leaderEpochs[partition],
      offset,
      maxWaitMs: FETCH_WAIT_MS,
      maxBytes: FETCH_BYTES,
    });
    if (answer.errorCode === API_ERROR.OFFSET_OUT_OF_RANGE) throw outOfRange(place, offset, range);
    if (answer.errorCode !== 0) throw refused(answer.errorCode, 'Fetch', `${topic}-${partition}`);
    return answer;
  });
}

function outOfRange(
  { topic, partition }: StateLogPlace,
  offset: number,
  { start, end }: CommittedRange,
): OffsetOutOfRangeError {
  return new OffsetOutOfRangeError(
    `State log ${topic}-${partition} holds ${start} to ${end}, not ${offset}; restore a newer snapshot, or check that this is the right cluster`,
  );
}
