/**
 * Owns the variables: the named values that a condition may ask about, their types and units, and where each lies in a
 * batch's columns. `docs/RULES.md` tells authors of them. Neighbours: `cel.ts` declares them to the language,
 * `compile-condition.ts` reads their columns, `reasons.ts` puts them in words. A rule never touches a column directly,
 * so columns may move without any rule changing.
 *
 * Every number is a `double`: whole amounts up to 10^12 are exact in it, and one that is not known is NaN, with which
 * no comparison holds. A text that is not known is "".
 */
import type { NumberColumn } from '../../stream/state/layout.js';
import { CARD_FEATURES } from '../features/feature-list.js';
import { CHANNELS, PAYMENT_STATUSES, type Payment } from '../payments/payment.js';
import { FINDING, type PaymentBatch } from '../payments/payment-batch.js';
import type { RuleTrigger } from './rule.js';

export type VariableType = 'double' | 'bool' | 'string';

/** How a value is written for people, and what values make sense. */
export type VariableUnit =
  | 'share'
  | 'money'
  | 'count'
  | 'km/h'
  | 'km'
  | 'seconds'
  | 'degrees'
  | 'time'
  | 'number'
  | 'flag'
  | 'text';

/** Where numbers and flags lie in a batch: row r at `r * stride + offset`. */
export interface ColumnPlace {
  column(batch: PaymentBatch): NumberColumn;
  stride(batch: PaymentBatch): number;
  readonly offset: number;
  /** Flags alone: bits of which any must be set. 0 for numbers. */
  readonly mask: number;
}

/** What a text can look like at all: a comparison with another never holds. */
export interface TextForm {
  readonly pattern: RegExp;
  readonly words: string;
}

export interface Variable {
  /** As `payment.amountMinor`. */
  readonly name: string;
  readonly type: VariableType;
  readonly unit: VariableUnit;
  /** What it is in plain words: the subject of a reason ("merchant risk 0.82 is …"). */
  readonly words: string;
  readonly triggers: readonly RuleTrigger[];
  /** Null: a text, read from the payment itself. */
  readonly place: ColumnPlace | null;
  /** Texts alone: the payment's field, and its form where it has one. */
  readonly field: keyof Payment | null;
  readonly form: TextForm | null;
}

export type Variables = ReadonlyMap<string, Variable>;

const PAYMENT: readonly RuleTrigger[] = ['payment'];
const EVERY: readonly RuleTrigger[] = ['payment', 'card-testing-expired'];

function number(
  name: string,
  unit: VariableUnit,
  words: string,
  column: (batch: PaymentBatch) => NumberColumn,
  triggers = PAYMENT,
): Variable {
  const place: ColumnPlace = { column, stride: () => 1, offset: 0, mask: 0 };
  return { name, type: 'double', unit, words, triggers, place, field: null, form: null };
}

function flag(name: string, words: string, mask: number, column: (batch: PaymentBatch) => NumberColumn): Variable {
  const place: ColumnPlace = { column, stride: () => 1, offset: 0, mask };
  return { name, type: 'bool', unit: 'flag', words, triggers: PAYMENT, place, field: null, form: null };
}

function text(field: keyof Payment, words: string, form: TextForm | null = null): Variable {
  return {
    name: `payment.${field}`,
    type: 'string',
    unit: 'text',
    words,
    triggers: PAYMENT,
    place: null,
    field,
    form,
  };
}

function oneOf(values: readonly string[]): TextForm {
  return { pattern: new RegExp(`^(${values.join('|')})$`), words: `one of ${values.join(', ')}` };
}

const ANY_BIT = 0xff;

const fixedVariables: readonly Variable[] = [
  text('paymentId', 'payment'),
  text('cardId', 'card'),
  text('merchantId', 'merchant'),
  number('payment.amountMinor', 'money', 'amount', (batch) => batch.amountMinor),
  text('currency', 'currency', { pattern: /^[A-Z]{3}$/, words: 'three capitals, as "EUR"' }),
  number('payment.occurredAt', 'time', 'time of the payment', (batch) => batch.eventTimeMs),
  text('country', 'country', { pattern: /^[A-Z]{2}$/, words: 'two capitals, as "DE"' }),
  text('mcc', 'merchant category', { pattern: /^[0-9]{4}$/, words: 'four digits, as "5967"' }),
  text('channel', 'channel', oneOf(CHANNELS)),
  text('status', 'payment status', oneOf(PAYMENT_STATUSES)),
  text('deviceId', 'device'),
  text('ip', 'IP address'),
  number('payment.latitude', 'degrees', 'latitude', (batch) => batch.latitude),
  number('payment.longitude', 'degrees', 'longitude', (batch) => batch.longitude),
  flag('payment.late', 'payment arrived late', ANY_BIT, (batch) => batch.late),
  number('merchant.risk', 'share', 'merchant risk', (batch) => batch.merchantRisk),
  flag('merchant.riskKnown', 'merchant risk is known', ANY_BIT, (batch) => batch.riskSource),
  flag('merchant.degraded', 'merchant risk comes from a fallback', ANY_BIT, (batch) => batch.degraded),
  flag('patterns.cardTesting', 'card testing found', FINDING.cardTesting, (batch) => batch.findings),
  number(
    'patterns.cardTestingSmallCount',
    'count',
    'small payments in a row',
    (batch) => batch.cardTestingSmallCount,
    EVERY,
  ),
  flag('patterns.velocityBurst', 'velocity burst found', FINDING.velocityBurst, (batch) => batch.findings),
  number('patterns.velocityCount', 'count', 'payments within the velocity window', (batch) => batch.velocityCount),
  flag('patterns.impossibleTravel', 'impossible travel found', FINDING.impossibleTravel, (batch) => batch.findings),
  number('patterns.travelSpeedKmh', 'km/h', 'travel speed', (batch) => batch.travelSpeedKmh),
  number('patterns.travelDistanceKm', 'km', 'travel distance', (batch) => batch.travelDistanceKm),
  number('score', 'share', 'score', (batch) => batch.score),
];

const UNITS: Readonly<Record<string, VariableUnit>> = { 'minor units': 'money', s: 'seconds', '0 to 1': 'share' };

/** The model's inputs by their place in a row of its input; one that this model lacks reads NaN. */
function featureVariables(featureNames: readonly string[]): Variable[] {
  return CARD_FEATURES.map(({ name, unit }) => {
    const offset = featureNames.indexOf(name);
    return {
      name: `features.${name}`,
      type: 'double',
      unit: UNITS[unit] ?? 'number',
      words: `feature ${name}`,
      triggers: PAYMENT,
      place:
        offset < 0
          ? { column: () => NOTHING, stride: () => 0, offset: 0, mask: 0 }
          : { column: (batch) => batch.features, stride: (batch) => batch.featureCount, offset, mask: 0 },
      field: null,
      form: null,
    };
  });
}

const NOTHING = Float64Array.of(Number.NaN);

/** All variables, by name, in the order of `docs/RULES.md`. `featureNames` in the order of the model's input. */
export function makeVariables(featureNames: readonly string[] = CARD_FEATURES.map(({ name }) => name)): Variables {
  return new Map([...fixedVariables, ...featureVariables(featureNames)].map((variable) => [variable.name, variable]));
}

/** As a batch holds a country: two capitals as (first << 8 | second), 0 for "", -1 for what no payment can have. */
export function countryCode(country: string): number {
  if (country === '') return 0;
  return /^[A-Z]{2}$/.test(country) ? (country.charCodeAt(0) << 8) | country.charCodeAt(1) : -1;
}
