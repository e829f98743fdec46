/**
 * Owns the list of the model's inputs: names, order, units, meaning, and the hash that a model's metadata must carry.
 * Detector, training export, backtest and explanation all go by this one list. Neighbours: `card-features.ts` fills
 * the values, `../scoring/model-metadata.ts` refuses a model trained on another list.
 *
 * Common to all: event time alone (UTC), never the wall clock; "before" means that this payment is left out. Counts and
 * sums over hours are read from the ring of the card's last 32 payments: they saturate at 33 payments, this one
 * included. No value is ever NaN or infinite.
 */
import { createHash } from 'node:crypto';

export interface CardFeature {
  readonly name: string;
  /** Raised whenever the value's meaning changes; part of the hash. */
  readonly version: number;
  readonly unit: string;
  readonly doc: string;
}

export const CARD_FEATURES = [
  { name: 'amountMinor', version: 1, unit: 'minor units', doc: 'Amount of this payment.' },
  { name: 'hourOfDay', version: 1, unit: 'hour', doc: 'Hour of the payment, 0 to 23, UTC.' },
  { name: 'weekend', version: 1, unit: '0 or 1', doc: 'Saturday or Sunday, UTC.' },
  { name: 'night', version: 1, unit: '0 or 1', doc: 'Between 00:00 and 06:59, UTC.' },
  { name: 'count1h', version: 1, unit: 'payments', doc: 'Payments of the card in the last hour, this one included.' },
  { name: 'count24h', version: 1, unit: 'payments', doc: 'Payments of the card in the last 24 h, this one included.' },
  { name: 'amountSum24hMinor', version: 1, unit: 'minor units', doc: 'Their summed amount.' },
  {
    name: 'decayedCount7d',
    version: 1,
    unit: 'payments',
    doc: 'Payments before, each weighted by one half for every 7 days of age.',
  },
  {
    name: 'decayedMean7dMinor',
    version: 1,
    unit: 'minor units',
    doc: 'Mean amount before, weighted alike; 0 for a card without history.',
  },
  {
    name: 'decayedCount30d',
    version: 1,
    unit: 'payments',
    doc: 'Payments before, each weighted by one half for every 30 days of age.',
  },
  {
    name: 'decayedMean30dMinor',
    version: 1,
    unit: 'minor units',
    doc: 'Mean amount before, weighted alike; 0 for a card without history.',
  },
  {
    name: 'amountOverMean30d',
    version: 1,
    unit: 'ratio',
    doc: 'This amount over the 30-day decayed mean before it, at most a million; 0 where that mean is 0.',
  },
  {
    name: 'amountOverLifetimeMean',
    version: 1,
    unit: 'ratio',
    doc: 'This amount over the mean of all payments before it, at most a million; 0 where that mean is 0.',
  },
  {
    name: 'recentOutliers',
    version: 1,
    unit: 'payments',
    doc: 'How many of the last 32 payments before were over three times the lifetime mean.',
  },
  { name: 'merchantRisk', version: 1, unit: '0 to 1', doc: 'The merchant’s fraud share, from enrichment.' },
  { name: 'merchantNew', version: 1, unit: '0 or 1', doc: 'None of the last 32 payments before was at this merchant.' },
  {
    name: 'distinctMerchants24h',
    version: 1,
    unit: 'merchants',
    doc: 'Different merchants of the last 24 h, this one included.',
  },
  {
    name: 'secondsSincePrevious',
    version: 1,
    unit: 's',
    doc: 'Since the card’s latest payment before; 0 for one that arrives out of order, at most 7 days (also for the first).',
  },
  { name: 'lifetimeCount', version: 1, unit: 'payments', doc: 'All payments before, at most 1,000.' },
] as const satisfies readonly CardFeature[];

export type CardFeatureName = (typeof CARD_FEATURES)[number]['name'];

export const FEATURE_COUNT = CARD_FEATURES.length;

/** Column of each feature in a row of `PaymentBatch.features`. */
export const FEATURE_INDEX = Object.fromEntries(CARD_FEATURES.map((feature, index) => [feature.name, index])) as Record<
  CardFeatureName,
  number
>;

/** sha256 (hex) over `name@version` lines in order: equal exactly where names, order and meanings are equal. */
export function hashFeatures(features: readonly Pick<CardFeature, 'name' | 'version'>[]): string {
  const lines = features.map((feature) => `${feature.name}@${feature.version}\n`).join('');
  return createHash('sha256').update(lines).digest('hex');
}

export const featuresHash = hashFeatures(CARD_FEATURES);
