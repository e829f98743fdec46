/**
 * Checks features against published ones: the Fraud Detection Handbook's own, computed by pandas over the same payments.
 * Only runs beside the labelled payments, which are not part of this repository.
 */
import { createReadStream, existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { expect, it } from 'vitest';
import { CardReplay } from '../../../scripts/model/card-replay.js';
import { labelledPayments } from '../../../scripts/model/labelled-payments.js';
import { rememberPayment } from '../../../src/fraud/cards/remember-payment.js';
import { cardFeatures } from '../../../src/fraud/features/card-features.js';
import { FEATURE_INDEX as AT, FEATURE_COUNT } from '../../../src/fraud/features/feature-list.js';

const data = new URL('../../../../shared/data/', import.meta.url).pathname;
const payments = `${data}payments-labelled.csv.gz`;
const golden = `${data}features-golden.csv.gz`;
/** Enough for every window checked here to be full. */
const DAYS_BEFORE = 45;
/** Half-lives of 30 days are not a window of 30 days; the means are alike all the same. */
const MAX_MEAN_ERROR = 0.03;

interface GoldenRow {
  readonly weekend: number;
  readonly night: number;
  readonly count1d: number;
  readonly mean1d: number;
  readonly count30d: number;
  readonly mean30d: number;
}

async function readGolden(): Promise<Map<number, GoldenRow>> {
  const rows = new Map<number, GoldenRow>();
  const lines = createInterface({ input: createReadStream(golden).pipe(createGunzip()) });
  for await (const line of lines) {
    const [id, weekend, night, count1d, mean1d, , , count30d, mean30d] = line.split(',').map(Number);
    if (Number.isNaN(id)) continue;
    rows.set(id, { weekend, night, count1d, mean1d, count30d, mean30d } as GoldenRow);
  }
  return rows;
}

it.skipIf(!existsSync(payments) || !existsSync(golden))(
  'features agree with the Handbook’s: time of day, count and sum of a day exactly, the 30-day mean closely',
  { timeout: 120_000 },
  async () => {
    const expected = await readGolden();
    const firstId = Math.min(...expected.keys());
    const replay = new CardReplay(10_000, 1, [cardFeatures, rememberPayment]);
    const { features } = replay.batch;
    let compared = 0;
    const differing: number[] = [];
    let meanErrors = 0;
    let meanError = 0;
    for await (const payment of labelledPayments(payments)) {
      // About 9,600 payments a day.
      if (payment.paymentId < firstId - DAYS_BEFORE * 9_600) continue;
      replay.batch.reset();
      replay.add(payment, 0);
      replay.run();
      const row = expected.get(payment.paymentId);
      if (row === undefined) continue;
      expect(features).toHaveLength(FEATURE_COUNT);
      const found = [features[AT.weekend], features[AT.night], features[AT.count24h], features[AT.amountSum24hMinor]];
      const wanted = [row.weekend, row.night, row.count1d, Math.round(row.count1d * row.mean1d * 100)];
      if (String(found) !== String(wanted)) differing.push(payment.paymentId);
      if (row.count30d > 20) {
        meanErrors++;
        meanError += Math.abs(features[AT.decayedMean30dMinor] / (row.mean30d * 100) - 1);
      }
      compared++;
    }
    expect(compared).toBe(expected.size);
    // Two payments of one card in the same second, which pandas had in the other order.
    expect(differing).toEqual([1_240_489, 1_240_490]);
    expect(meanError / meanErrors).toBeLessThan(MAX_MEAN_ERROR);
  },
);
