/**
 * Owns `bench micro`: µs a payment of each hot stage by itself, on one thread, over payments held in memory; so that a
 * regression shows where it is. The stages run in the order of the pipeline, each over what the one before made; a
 * stage's time is the best of several rounds over all batches. Nothing here waits for a disk or a network.
 */
import { CARD_STEPS } from '../scripts/model/card-replay.js';
import { RecordSet } from '../src/adapters/kafka/records/decode.js';
import { encodeBatch } from '../src/adapters/kafka/records/encode.js';
import { openOnnxScorer } from '../src/adapters/onnx/onnx-scorer.js';
import { SHIPPED_MODEL } from '../src/app/version.js';
import { cardState } from '../src/fraud/cards/state.js';
import { CARD_FEATURES, FEATURE_COUNT } from '../src/fraud/features/feature-list.js';
import { jsonPayments } from '../src/fraud/payments/decode-json.js';
import type { PaymentBatch } from '../src/fraud/payments/payment-batch.js';
import { builtInRuleSet } from '../src/fraud/rules/built-in-rules.js';
import { compileRules } from '../src/fraud/rules/compile-rules.js';
import { RuleBreakers } from '../src/fraud/rules/rule-breakers.js';
import { encodeDelta } from '../src/stream/epoch/delta.js';
import { Replay } from '../src/stream/epoch/replay.js';
import type { StepContext } from '../src/stream/pipeline/pipeline.js';
import { type OutputRecord, RecordBatch } from '../src/stream/records.js';
import { systemClock } from '../src/stream/runtime/system-clock.js';
import { ByteWriter } from '../src/stream/state/byte-writer.js';
import { KeyedState } from '../src/stream/state/keyed-state.js';
import { FRESH_START } from '../src/stream/state/stored-form.js';
import { WriteBehind } from '../src/stream/state/write-behind.js';
import { memoryStateStore } from '../src/stream/testing/memory-store.js';
import type { Bench, BenchPlace, BenchResult } from './bench.js';
import { loadAverage } from './process-figures.js';
import { workload } from './workload.js';

export const microBench: Bench = {
  name: 'micro',
  summary: 'each hot stage by itself, on one thread: µs a payment',
  run: measure,
};

const ROWS = 2_048;
const BATCHES = 200;
const BATCHES_AN_EPOCH = 10;
const ROUNDS = 5;
const HOT_KEYS = 262_144;

const CONTEXT: StepContext = {
  taskId: 'bench-0',
  source: { topic: 'payments', partition: 0 },
  clock: systemClock,
  count: () => {},
};
const NOBODY = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false };

/** Best time of each stage so far, in ms over all batches of a round. */
class Stages {
  private readonly best = new Map<string, number>();
  private readonly now = new Map<string, number>();

  time<T>(stage: string, work: () => T): T {
    const begin = performance.now();
    const result = work();
    this.add(stage, performance.now() - begin);
    return result;
  }

  async timeAsync(stage: string, work: () => Promise<void>): Promise<void> {
    const begin = performance.now();
    await work();
    this.add(stage, performance.now() - begin);
  }

  endRound(): void {
    for (const [stage, ms] of this.now) this.best.set(stage, Math.min(ms, this.best.get(stage) ?? ms));
    this.now.clear();
  }

  microseconds(payments: number): Record<string, number> {
    return Object.fromEntries([...this.best].map(([stage, ms]) => [stage, Math.round((ms / payments) * 1e6) / 1e3]));
  }

  private add(stage: string, ms: number): void {
    this.now.set(stage, (this.now.get(stage) ?? 0) + ms);
  }
}

async function measure(place: BenchPlace): Promise<BenchResult> {
  const batches = await encodedPayments(place);
  const scorer = await openOnnxScorer(SHIPPED_MODEL);
  const rules = compileRules(builtInRuleSet, { featureNames: CARD_FEATURES.map(({ name }) => name) });
  const breakers = new RuleBreakers();
  breakers.watch(rules.rules.map(({ rule }) => rule));
  const stages = new Stages();
  let payments = 0;
  for (let round = 0; round < ROUNDS; round++) {
    payments = await runOnce(batches, stages, async (batch) => {
      await stages.timeAsync('score', () => scorer.score(batch.features, batch.count, batch.score));
      stages.time('rules', () => rules.evaluate(batch, breakers));
    });
    stages.endRound();
  }
  await scorer.close();
  const us = stages.microseconds(payments);
  const sum = Math.round(Object.values(us).reduce((total, one) => total + one, 0) * 1e3) / 1e3;
  return {
    figures: { payments, usPerPayment: us, sum, load: loadAverage() },
    rows: [...Object.entries({ ...us, sum })].map(([stage, value]) => ({ stage, 'µs a payment': value })),
  };
}

/** One pass over all batches with a fresh state; returns how many payments there were. */
async function runOnce(
  batches: readonly Buffer[],
  stages: Stages,
  whole: (batch: PaymentBatch) => Promise<void>,
): Promise<number> {
  const source = jsonPayments({ topic: 'payments', featureCount: FEATURE_COUNT });
  const owner = await openState();
  const follower = await openState();
  const replay = new Replay({
    taskId: 'bench-0',
    opened: { state: follower.state, writeBehind: follower.writeBehind, onTimer: () => {} },
    start: FRESH_START,
    clock: systemClock,
    onProgress: () => {},
  });
  const steps = CARD_STEPS.map((step) => [step.id, step.open(CONTEXT, owner.columns)] as const);
  const records = new RecordBatch(ROWS);
  const batch = source.makeBatch(ROWS);
  Object.assign(batch, { records });
  const delta = new ByteWriter(1 << 20);
  let payments = 0;
  let epoch = 0;
  for (const [number, bytes] of batches.entries()) {
    batch.reset();
    const set = new RecordSet('payments', 0, bytes, number * ROWS, []);
    records.count = stages.time('fetch decode', () => set.fill(records));
    stages.time('scan', () => source.decode(batch, records, { reject: () => {} }));
    const { state } = owner;
    stages.time('index', () => {
      const round = state.beginBatch();
      const text = batch.records.bytes;
      for (let row = 0; row < batch.count; row++) {
        batch.slot[row] = state.acquire(text, batch.keyStart[row], batch.keyLength[row], round);
      }
      state.releaseBatchesBefore(round);
    });
    await state.loaded();
    stages.time('touch', () => {
      for (let row = 0; row < batch.count; row++) state.touch(batch.slot[row], epoch);
    });
    for (const [name, step] of steps) {
      stages.time(name, () => {
        for (let row = 0; row < batch.count; row++) step.apply(batch, row, batch.slot[row]);
      });
    }
    await whole(batch);
    payments += batch.count;
    if ((number + 1) % BATCHES_AN_EPOCH !== 0) continue;
    const head = { taskId: 'bench-0', epoch, from: epoch, to: epoch + 1, maxEventTimeMs: null, cursors: {} };
    const log = stages.time('delta', () => encodeDelta(delta, head, state as unknown as KeyedState, 1 << 20));
    state.forgetChanged();
    const point = { ...FRESH_START, epoch, sourceOffset: epoch + 1, stateLogOffset: epoch };
    await stages.timeAsync('store form', async () => {
      owner.writeBehind.committed(point, 0);
      owner.writeBehind.sweepAll(epoch, epoch, HOT_KEYS);
      await owner.writeBehind.idle();
    });
    await stages.timeAsync('apply (recovery, standby)', async () => {
      for (const value of log) await replay.apply(value, epoch, epoch + 1);
    });
    epoch++;
  }
  return payments;
}

async function openState() {
  const store = await memoryStateStore()('bench');
  const state = new KeyedState(cardState, HOT_KEYS, store, () => {});
  const erased = state as unknown as KeyedState;
  return {
    state,
    columns: state.columns,
    writeBehind: new WriteBehind(erased, store, { ageMs: 60_000, slotsAtOnce: ROWS }, FRESH_START),
  };
}

/** The workload as Kafka batches, uncompressed, as a broker would hand them out. */
async function encodedPayments(place: BenchPlace): Promise<Buffer[]> {
  const encoded: Buffer[] = [];
  let records: OutputRecord[] = [];
  for await (const some of workload(place.options.file, 1).batches('payments', ROWS * BATCHES)) {
    records.push(...some);
    for (; records.length >= ROWS && encoded.length < BATCHES; records = records.slice(ROWS)) {
      const bytes = encodeBatch(records, 0, ROWS, NOBODY);
      bytes.writeBigInt64BE(BigInt(encoded.length * ROWS), 0);
      encoded.push(bytes);
    }
  }
  return encoded;
}
