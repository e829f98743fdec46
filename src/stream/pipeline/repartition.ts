/**
 * Owns the pipeline that gives records another key: what it reads from one source partition it writes to a topic keyed as
 * its rows are, key and value byte for byte, headers as they came and the place they came from behind them. It keeps no
 * state but its position. Neighbours: `origin.ts` writes and reads that place; the pipeline that reads the topic next
 * trusts its keys.
 *
 * RP1 Outputs and position commit in one epoch, so each record is passed on once, whatever dies.
 * RP2 Records of one source partition keep their order for each key: epochs commit one after another, and a key has one
 *     partition as long as the topic's count stays.
 * RP3 A record that cannot be decoded has no key: it becomes a dead letter here, told with its true place.
 */
import type { OutputRecord } from '../records.js';
import { stateLayout } from '../state/layout.js';
import type { StepBatch } from './batch.js';
import { OriginHeaders } from './origin.js';
import type { BatchStep, DeadLetterLimits, Outputs, PipelineDefinition, SourceStep, StepContext } from './pipeline.js';

const noState = stateLayout('repartition', { version: 1 }, {});

export type RepartitionPipeline<B extends StepBatch> = PipelineDefinition<B, typeof noState.fields>;

export interface RepartitionParts<B extends StepBatch> {
  /** Part of task ids, so with the source topic in it. */
  readonly name: string;
  readonly version: string;
  /** Its rows' keys become the records' keys. */
  readonly source: SourceStep<B>;
  /** The topic to write to. */
  readonly to: string;
  readonly deadLetters: { readonly topic: string; readonly limits: DeadLetterLimits };
}

export function repartitionPipeline<B extends StepBatch>(parts: RepartitionParts<B>): RepartitionPipeline<B> {
  const { name, version, source, to, deadLetters } = parts;
  return {
    name,
    version,
    source,
    outOfOrdernessMs: 0,
    broadcasts: [],
    enrich: [],
    layout: noState,
    keyed: [],
    batchSteps: [rekey(to)],
    deadLetters,
  };
}

/** Passed on as soon as an alert would be: the time a record waits here adds to that of its alert. */
const AT_ONCE = { prompt: true } as const;

function rekey<B extends StepBatch>(to: string): BatchStep<B> {
  return {
    kind: 'batch',
    id: 'rekey',
    open: (context: StepContext) => {
      const origin = new OriginHeaders(context.source);
      return {
        apply: (batch: B, outputs: Outputs) => {
          for (let row = 0; row < batch.count; row++) outputs.emit(rekeyed(batch, row, to, origin), AT_ONCE);
        },
      };
    },
  };
}

/** Views into the fetched bytes, which are never written again; texts of the side buffer are, so those are copied. */
function rekeyed(batch: StepBatch, row: number, to: string, origin: OriginHeaders): OutputRecord {
  const { records } = batch;
  const record = batch.recordIndex[row];
  const start = batch.keyStart[row];
  const key = batch.textBytes(row).subarray(start, start + batch.keyLength[row]);
  return {
    topic: to,
    key: batch.inSide[row] === 1 ? Buffer.from(key) : key,
    value: records.value(record),
    headers: origin.behind(records, record),
    timestampMs: records.timestampMs[record],
  };
}
