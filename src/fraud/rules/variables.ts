/**
 * Owns the variables: the named values that a condition may ask about, their types and units, and where each lies in a
 * batch's columns. `docs/RULES.md` tells authors of them. Neighbours: `language.ts` declares them to the language,
 * `compile-condition.ts` reads their columns, `text-loops.ts` their texts, `reasons.ts` puts them in words. A rule never touches a column directly,
 * so columns may move without any rule changing.
 *
 * Every number is a `double`: whole amounts up to 10^12 are exact in it, and one that is not known is NaN, with which
 * no comparison holds. A text that is not known is "".
 */
import type { NumberColumn } from '../../stream/state/layout.js';
import { CARD_FEATURES } from '../features/feature-list.js';
import { CHANNELS, PAYMENT_STATUSES } from '../payments/payment.js';
import { FINDING, KIND, type PaymentBatch } from '../payments/payment-batch.js';
import {
  capitalsOf,
  channelCode,
  channelOf,
  countryCode,
  currencyCode,
  mccCode,
  mccOf,
  statusCode,
  statusOf,
} from '../payments/text-codes.js';
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

/**
 * A text that a batch holds as a number, `(column[row] >>> shift) & mask`. 0 is ""; `codeOf` gives -1 for what no
 * payment can have.
 */
export interface CodedText {
  readonly kind: 'coded';
  column(batch: PaymentBatch): NumberColumn;
  readonly shift: number;
  readonly mask: number;
  codeOf(text: string): number;
  textOf(code: number): string;
}

/** A text whose bytes lie in the row's `textBytes`, as UTF-8: where, both columns say at `row * stride + offset`. */
export interface TextBytes {
  readonly kind: 'bytes';
  start(batch: PaymentBatch): Int32Array;
  length(batch: PaymentBatch): Int32Array;
  readonly stride: number;
  readonly startOffset: number;
  readonly lengthOffset: number;
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
  /** Null for texts alone. */
  readonly place: ColumnPlace | null;
  /** Texts alone: where they lie, and their form where they have one. */
  readonly text: CodedText | TextBytes | null;
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
  return { name, type: 'double', unit, words, triggers, place, text: null, form: null };
}

function flag(name: string, words: string, mask: number, column: (batch: PaymentBatch) => NumberColumn): Variable {
  const place: ColumnPlace = { column, stride: () => 1, offset: 0, mask };
  return { name, type: 'bool', unit: 'flag', words, triggers: PAYMENT, place, text: null, form: null };
}

function textVariable(
  name: string,
  words: string,
  text: CodedText | TextBytes,
  form: TextForm | null = null,
): Variable {
  return { name, type: 'string', unit: 'text', words, triggers: PAYMENT, place: null, text, form };
}

type Places = (batch: PaymentBatch) => Int32Array;

function bytes(start: Places, length: Places): TextBytes {
  return { kind: 'bytes', start, length, stride: 1, startOffset: 0, lengthOffset: 0 };
}

function inDeviceAndIp(offset: number): TextBytes {
  const places: Places = (batch) => batch.deviceAndIp;
  return { kind: 'bytes', start: places, length: places, stride: 4, startOffset: offset, lengthOffset: offset + 1 };
}

function coded(
  column: CodedText['column'],
  codeOf: CodedText['codeOf'],
  textOf: CodedText['textOf'],
  bits: Pick<CodedText, 'shift' | 'mask'> = { shift: 0, mask: 0xff_ffff },
): CodedText {
  return { kind: 'coded', column, ...bits, codeOf, textOf };
}

function oneOf(values: readonly string[]): TextForm {
  return { pattern: new RegExp(`^(${values.join('|')})$`), words: `one of ${values.join(', ')}` };
}

const ANY_BIT = 0xff;

const fixedVariables: readonly Variable[] = [
  textVariable(
    'payment.paymentId',
    'payment',
    bytes(
      (batch) => batch.paymentIdStart,
      (batch) => batch.paymentIdLength,
    ),
  ),
  textVariable(
    'payment.cardId',
    'card',
    bytes(
      (batch) => batch.keyStart,
      (batch) => batch.keyLength,
    ),
  ),
  textVariable(
    'payment.merchantId',
    'merchant',
    bytes(
      (batch) => batch.merchantStart,
      (batch) => batch.merchantLength,
    ),
  ),
  number('payment.amountMinor', 'money', 'amount', (batch) => batch.amountMinor),
  textVariable(
    'payment.currency',
    'currency',
    coded((batch) => batch.currency, currencyCode, capitalsOf),
    { pattern: /^[A-Z]{3}$/, words: 'three capitals, as "EUR"' },
  ),
  number('payment.occurredAt', 'time', 'time of the payment', (batch) => batch.eventTimeMs),
  textVariable(
    'payment.country',
    'country',
    coded((batch) => batch.country, countryCode, capitalsOf),
    { pattern: /^[A-Z]{2}$/, words: 'two capitals, as "DE"' },
  ),
  textVariable(
    'payment.mcc',
    'merchant category',
    coded((batch) => batch.kind, mccCode, mccOf, KIND.mcc),
    { pattern: /^[0-9]{4}$/, words: 'four digits, as "5967"' },
  ),
  textVariable(
    'payment.channel',
    'channel',
    coded((batch) => batch.kind, channelCode, channelOf, KIND.channel),
    oneOf(CHANNELS),
  ),
  textVariable(
    'payment.status',
    'payment status',
    coded((batch) => batch.kind, statusCode, statusOf, KIND.status),
    oneOf(PAYMENT_STATUSES),
  ),
  textVariable('payment.deviceId', 'device', inDeviceAndIp(0)),
  textVariable('payment.ip', 'IP address', inDeviceAndIp(2)),
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
      text: null,
      form: null,
    };
  });
}

const NOTHING = Float64Array.of(Number.NaN);

/** All variables, by name, in the order of `docs/RULES.md`. `featureNames` in the order of the model's input. */
export function makeVariables(featureNames: readonly string[] = CARD_FEATURES.map(({ name }) => name)): Variables {
  return new Map([...fixedVariables, ...featureVariables(featureNames)].map((variable) => [variable.name, variable]));
}
