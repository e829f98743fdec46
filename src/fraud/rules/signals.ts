/**
 * Owns the signals: the named values of a payment that a rule may ask about, and where each lies in a batch's columns.
 * Neighbours: `condition.ts` compiles comparisons over them, `reasons.ts` puts them in words. A rule never touches a
 * column directly, so columns may move without any rule changing.
 */
import type { NumberColumn } from '../../stream/state/layout.js';
import { CARD_FEATURES } from '../features/feature-list.js';
import { FINDING, type PaymentBatch } from '../payments/payment-batch.js';

/** How a value is written for people. */
export type SignalUnit = 'share' | 'money' | 'count' | 'km/h' | 'km' | 'seconds' | 'flag' | 'number';

export interface Signal {
  readonly name: string;
  readonly unit: SignalUnit;
  /** What it is in plain words: the subject of a reason ("merchant risk 0.82 is …"). */
  readonly words: string;
  /** The column that holds it. Row r lies at `r * stride + offset`. */
  column(batch: PaymentBatch): NumberColumn;
  stride(batch: PaymentBatch): number;
  readonly offset: number;
  /** Flags alone: bits that must be set in the column, any of them. 0 for numbers. */
  readonly mask: number;
}

/** Values of signals outside a batch (evidence, timers), by name. Flags are 0 or 1; a signal that is not there is NaN. */
export type SignalValues = Readonly<Record<string, number>>;

/** The signals that a rule set may use, by name. */
export type Signals = ReadonlyMap<string, Signal>;

const UNITS: Readonly<Record<string, SignalUnit>> = { 'minor units': 'money', s: 'seconds' };
const unitOfFeature = new Map(
  CARD_FEATURES.map(({ name, unit }): [string, SignalUnit] => [name, UNITS[unit] ?? 'number']),
);

const FEATURE_PREFIX = 'feature.';

function number(name: string, unit: SignalUnit, words: string, column: (batch: PaymentBatch) => NumberColumn): Signal {
  return { name, unit, words, column, stride: () => 1, offset: 0, mask: 0 };
}

function flag(name: string, words: string, mask: number, column: (batch: PaymentBatch) => NumberColumn): Signal {
  return { name, unit: 'flag', words, column, stride: () => 1, offset: 0, mask };
}

const paymentSignals: readonly Signal[] = [
  number('score', 'share', 'score', (batch) => batch.score),
  number('amountMinor', 'money', 'amount', (batch) => batch.amountMinor),
  number('merchantRisk', 'share', 'merchant risk', (batch) => batch.merchantRisk),
  flag('riskKnown', 'merchant risk is known', 0xff, (batch) => batch.riskSource),
  flag('degraded', 'merchant risk comes from a fallback', 0xff, (batch) => batch.degraded),
  flag('late', 'payment arrived late', 0xff, (batch) => batch.late),
  flag('cardTesting', 'card testing found', FINDING.cardTesting, (batch) => batch.findings),
  number('cardTestingSmallCount', 'count', 'small payments in a row', (batch) => batch.cardTestingSmallCount),
  flag('velocityBurst', 'velocity burst found', FINDING.velocityBurst, (batch) => batch.findings),
  number('velocityCount', 'count', 'payments within the velocity window', (batch) => batch.velocityCount),
  flag('impossibleTravel', 'impossible travel found', FINDING.impossibleTravel, (batch) => batch.findings),
  number('travelSpeedKmh', 'km/h', 'travel speed', (batch) => batch.travelSpeedKmh),
  number('travelDistanceKm', 'km', 'travel distance', (batch) => batch.travelDistanceKm),
];

/**
 * All signals: those of the payment's columns, and `feature.<name>` for every model feature in the order of the model's
 * input (`feature.` so that a model's names never hide a column's).
 */
export function makeSignals(featureNames: readonly string[] = []): Signals {
  const signals = new Map(paymentSignals.map((signal) => [signal.name, signal]));
  featureNames.forEach((feature, offset) => {
    const name = FEATURE_PREFIX + feature;
    signals.set(name, {
      name,
      unit: unitOfFeature.get(feature) ?? 'number',
      words: `feature ${feature}`,
      column: (batch) => batch.features,
      stride: (batch) => batch.featureCount,
      offset,
      mask: 0,
    });
  });
  return signals;
}

/** One signal's value at a row; flags as 0 or 1. Not for hot loops. */
export function readSignal(signal: Signal, batch: PaymentBatch, row: number): number {
  const value = signal.column(batch)[row * signal.stride(batch) + signal.offset];
  return signal.mask === 0 ? value : (value & signal.mask) !== 0 ? 1 : 0;
}

/** Every signal's value at a row, for reasons and evidence. Allocates: for rows that make an alert alone. */
export function readSignals(signals: Signals, batch: PaymentBatch, row: number): SignalValues {
  const values: Record<string, number> = {};
  for (const signal of signals.values()) values[signal.name] = readSignal(signal, batch, row);
  return values;
}
