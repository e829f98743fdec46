import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readStrictly } from '../../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../../src/fraud/payments/encode-json.js';
import { CHANNELS, PAYMENT_STATUSES } from '../../../src/fraud/payments/payment.js';
import { FIELD } from '../../../src/fraud/payments/plain-payment.js';
import { Refusal } from '../../../src/fraud/payments/refusal.js';
import { PaymentScan } from '../../../src/fraud/payments/scan-payment.js';
import { FULL, PLAIN, rowsOfBothPaths } from './fixtures.js';

const NAMES = Object.keys(FIELD) as (keyof typeof FIELD)[];

/** What the scanner read, as the strict path would give it; null where it declined. Foreign bytes stand around the value. */
function scanned(value: Buffer) {
  const bytes = Buffer.concat([Buffer.from('{"9'), value, Buffer.from('"}1')]);
  const scan = new PaymentScan();
  if (!scan.read(bytes, 3, 3 + value.length)) return null;
  const fields: Record<string, unknown> = {};
  for (const name of NAMES) {
    const field = FIELD[name];
    if (!scan.has(field)) continue;
    fields[name] =
      field < FIELD.amountMinor
        ? bytes.toString('latin1', scan.start[field], scan.start[field] + scan.length[field])
        : scan.number[field];
  }
  return { fields, scan, bytes };
}

/** True where the fast path took the value; fails where it took it otherwise than the strict path does. */
function agrees(value: Buffer): boolean {
  const fast = scanned(value);
  if (fast === null) return false;
  const strict = readStrictly(value, null);
  if (strict instanceof Refusal) throw new Error(`fast path took what is refused: ${strict.message}: ${value}`);
  expect(fast.fields).toEqual(strict);
  const [inPlace, copied] = rowsOfBothPaths(fast.scan, fast.bytes, strict);
  expect(inPlace).toEqual(copied);
  return true;
}

const text = fc.oneof(
  fc.string({ minLength: 0, maxLength: 70 }),
  fc.string({ unit: 'binary', maxLength: 5 }),
  fc.constantFrom(
    'EUR',
    'BE',
    '5411',
    '::1',
    '10.0.0.1',
    '01.2.3.4',
    '4111111111111111',
    ...CHANNELS,
    ...PAYMENT_STATUSES,
  ),
);
const rawNumber = fc.oneof(
  fc.integer().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc
    .tuple(fc.bigInt({ min: 0n, max: 10n ** 18n }), fc.bigInt({ min: 0n, max: 10n ** 17n }))
    .map(([a, b]) => `${a}.${b}`),
  fc.constantFrom(
    '0',
    '-0',
    '00',
    '01',
    '1.',
    '.5',
    '-',
    '1e3',
    '0.0',
    '-0.0',
    '90',
    '90.000001',
    '-180',
    '1.5',
    '1E2',
  ),
  fc.constantFrom(
    '999999999999999',
    '9999999999999999',
    '1000000000000',
    '1000000000001',
    '946684800000',
    '946684799999',
  ),
);
const rawValue = fc.oneof(
  text.map((value) => JSON.stringify(value)),
  rawNumber,
  fc.constantFrom('null', 'true', 'false', 'nul', '{}', '[]', '"\\u0041"', ''),
);
/** A few names that are no fields, so that they come twice; one is a field's once it is unescaped. */
const rawName = fc.oneof(
  fc.constantFrom(...NAMES).map((name) => JSON.stringify(name)),
  fc.string({ maxLength: 12 }).map((name) => JSON.stringify(name)),
  fc.constantFrom('"note"', '"Note"', '""', '"__proto__"', '"n\\u006fte"', '"c\\u0061rdId"'),
);
const rawField = fc.tuple(rawName, rawValue);
const blank = fc.constantFrom('', '', ' ', '\n', '\t ', '\r', '\v', '\u00a0');
const base = fc.constantFrom(PLAIN, FULL);

/** A payment with some fields added, replaced or doubled, in any order and spacing. */
const fieldsMutated = fc
  .tuple(base, fc.array(rawField, { maxLength: 3 }), blank, fc.integer({ min: 0, max: 99 }))
  .map(([payment, added, space, turn]) => {
    const fields = Object.entries(payment).map(([name, value]) => [JSON.stringify(name), JSON.stringify(value)]);
    const all = [...fields.slice(turn % fields.length), ...added, ...fields.slice(0, turn % fields.length)];
    const body = all.map(([name, raw]) => `${name}${space}:${space}${raw}`).join(`${space},${space}`);
    return Buffer.from(`${space}{${space}${body}${space}}${space}`);
  });

/** A payment's bytes with some cut out, doubled or overwritten. */
const bytesMutated = fc
  .tuple(
    base,
    fc.array(
      fc.record({
        how: fc.constantFrom('set', 'set', 'set', 'insert', 'insert', 'cut', 'end'),
        at: fc.nat(400),
        byte: fc.oneof(fc.constantFrom(...Buffer.from('{}[]",:.-+eE0129\\ \n')), fc.integer({ min: 0, max: 255 })),
        length: fc.integer({ min: 1, max: 12 }),
      }),
      { minLength: 1, maxLength: 2 },
    ),
  )
  .map(([payment, steps]) => {
    let bytes = encodePayment(payment);
    for (const { how, at, byte, length } of steps) {
      const place = at % (bytes.length + 1);
      const tail = how === 'cut' ? place + length : how === 'set' ? place + 1 : place;
      const middle = how === 'set' || how === 'insert' ? Buffer.from([byte]) : Buffer.alloc(0);
      bytes = Buffer.concat([bytes.subarray(0, place), middle, how === 'end' ? Buffer.alloc(0) : bytes.subarray(tail)]);
    }
    return bytes;
  });

/**
 * The names of an object's fields in order, found in another way than the code under test: every text with a colon
 * after it. Null where the value is no object.
 */
function namesOf(value: Buffer): string[] | null {
  const text = value.toString('utf8');
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return null;
  } catch {
    return null;
  }
  // Nothing that is generated here nests a name, so every text before a colon is one.
  return [...text.matchAll(/("(?:[^"\\]|\\.)*")\s*(:?)/g)]
    .filter(([, , colon]) => colon === ':')
    .map(([, raw]) => JSON.parse(raw));
}

describe('the payment scanner', () => {
  it('takes payments as feeds write them', () => {
    expect(agrees(encodePayment(PLAIN))).toBe(true);
    expect(agrees(encodePayment(FULL))).toBe(true);
  });

  it('agrees with the strict path on payments with mutated fields, or declines', () => {
    let taken = 0;
    fc.assert(
      fc.property(fieldsMutated, (value) => {
        if (agrees(value)) taken += 1;
      }),
      { numRuns: 20_000 },
    );
    // Were next to nothing taken, the agreement would say nothing.
    expect(taken).toBeGreaterThan(2_000);
  });

  it('takes no payment that names a field twice, nor does the strict path, and both take others', () => {
    let repeated = 0;
    fc.assert(
      fc.property(fieldsMutated, (value) => {
        const names = namesOf(value);
        if (names === null) return;
        const isRepeated = new Set(names).size < names.length;
        if (isRepeated) repeated += 1;
        const strict = readStrictly(value, null);
        expect(strict instanceof Refusal && strict.code === 'duplicate-field').toBe(isRepeated);
        if (isRepeated) expect(scanned(value)).toBeNull();
      }),
      { numRuns: 20_000 },
    );
    expect(repeated).toBeGreaterThan(1_000);
  });

  it('agrees with the strict path on payments with mutated bytes, or declines', () => {
    let taken = 0;
    fc.assert(
      fc.property(bytesMutated, (value) => {
        if (agrees(value)) taken += 1;
      }),
      { numRuns: 20_000 },
    );
    expect(taken).toBeGreaterThan(1_000);
  });

  it('reads plain decimals to the same float as JSON.parse', () => {
    fc.assert(
      fc.property(fc.nat(90_000_000), fc.integer({ min: 0, max: 8 }), fc.boolean(), (digits, decimals, negative) => {
        const latitude = `${negative ? '-' : ''}${(digits / 10 ** 8).toFixed(decimals)}`;
        const value = Buffer.from(`${JSON.stringify(PLAIN).slice(0, -1)},"latitude":${latitude},"longitude":0.1}`);
        expect(agrees(value)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  it('reads decimals of more digits than a float holds as JSON.parse does', () => {
    fc.assert(
      fc.property(
        fc.nat(89),
        fc.bigInt({ min: 0n, max: 10n ** 19n - 1n }),
        fc.integer({ min: 12, max: 19 }),
        (a, b, n) => {
          const latitude = `${a}.${b.toString().padStart(19, '0').slice(0, n)}`;
          const value = Buffer.from(`${JSON.stringify(PLAIN).slice(0, -1)},"latitude":${latitude},"longitude":0.1}`);
          expect(agrees(value)).toBe(true);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  it('knows IPv4 by itself and other addresses by the strict rule', () => {
    const read = (ip: string) => agrees(encodePayment({ ...FULL, ip }));
    expect(['0.0.0.0', '255.255.255.255', '::1', 'fe80::1', '2001:db8::17'].map(read)).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
    expect(['256.1.1.1', '1.1.1', '1.1.1.1.', '01.1.1.1', 'x'].map(read)).toEqual([false, false, false, false, false]);
  });
});
