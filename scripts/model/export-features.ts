/**
 * Owns the training export: labelled payments through the detector's own steps, into a matrix that `train.py` reads.
 *
 *   npm run -s model:features -- PAYMENTS.csv[.gz] DIRECTORY [--max-cards N]
 *
 * Writes, row by row in the file's order, all little-endian: features.f32 (rows × features), labels.u8, days.i32 (days
 * since 1970, UTC), cards.i32 (the card's number in order of appearance), ids.f64 (payment ids); and export.json, which
 * says what is in them. Neighbours: `labelled-payments.ts`, `card-replay.ts`, `merchant-risk-history.ts`.
 */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { CARD_FEATURES, FEATURE_COUNT, featuresHash } from '../../src/fraud/features/feature-list.js';
import { CardReplay } from './card-replay.js';
import { type LabelledPayment, labelledPayments } from './labelled-payments.js';
import { MERCHANT_RISK_PARAMETERS, MerchantRiskHistory } from './merchant-risk-history.js';

const DAY_MS = 86_400_000;
const BATCH_ROWS = 2_048;

class MatrixFiles {
  private readonly streams: WriteStream[] = [];
  private readonly features: WriteStream;
  private readonly labels: WriteStream;
  private readonly days: WriteStream;
  private readonly cards: WriteStream;
  private readonly ids: WriteStream;

  constructor(directory: string) {
    const open = (name: string) => {
      const stream = createWriteStream(join(directory, name));
      this.streams.push(stream);
      return stream;
    };
    this.features = open('features.f32');
    this.labels = open('labels.u8');
    this.days = open('days.i32');
    this.cards = open('cards.i32');
    this.ids = open('ids.f64');
  }

  /** Appends rows; resolves when the files can take more. */
  async append(features: Float32Array, payments: readonly LabelledPayment[], cards: Int32Array): Promise<void> {
    const days = Int32Array.from(payments, (payment) => Math.floor(payment.occurredAt / DAY_MS));
    await write(this.features, features);
    await write(
      this.labels,
      Uint8Array.from(payments, (payment) => (payment.isFraud ? 1 : 0)),
    );
    await write(this.days, days);
    await write(this.cards, cards);
    await write(
      this.ids,
      Float64Array.from(payments, (payment) => payment.paymentId),
    );
  }

  async close(): Promise<void> {
    for (const stream of this.streams) stream.end();
    await Promise.all(this.streams.map((stream) => finished(stream)));
  }
}

/** Copies: the caller's arrays are reused at once. */
async function write(
  stream: WriteStream,
  values: Float32Array | Uint8Array | Int32Array | Float64Array,
): Promise<void> {
  const bytes = Buffer.from(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  if (!stream.write(bytes)) await once(stream, 'drain');
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      'max-cards': { type: 'string', default: '100000' },
    },
  });
  const [file, directory] = positionals;
  if (file === undefined || directory === undefined)
    throw new Error('usage: export-features PAYMENTS.csv[.gz] DIRECTORY');
  await mkdir(directory, { recursive: true });
  const risks = new MerchantRiskHistory(MERCHANT_RISK_PARAMETERS);
  const replay = new CardReplay(Number(values['max-cards']), BATCH_ROWS);
  const files = new MatrixFiles(directory);
  let pending: LabelledPayment[] = [];
  let rows = 0;
  const flush = async () => {
    replay.run();
    const { batch } = replay;
    await files.append(
      batch.features.subarray(0, batch.count * FEATURE_COUNT),
      pending,
      batch.slot.slice(0, batch.count),
    );
    rows += batch.count;
    pending = [];
    batch.reset();
  };
  for await (const payment of labelledPayments(file)) {
    const risk = risks.riskAt(payment.merchantId, payment.occurredAt);
    if (!replay.add(payment, risk)) {
      await flush();
      replay.add(payment, risk);
    }
    pending.push(payment);
    risks.add(payment.merchantId, payment.occurredAt, payment.isFraud);
  }
  await flush();
  await files.close();
  const description = {
    rows,
    featureNames: CARD_FEATURES.map((f) => f.name),
    featuresHash,
    merchantRisk: MERCHANT_RISK_PARAMETERS,
  };
  await writeFile(join(directory, 'export.json'), `${JSON.stringify(description, null, 2)}\n`);
  process.stdout.write(`${rows} payments, ${FEATURE_COUNT} features each, in ${directory}\n`);
}

await main();
