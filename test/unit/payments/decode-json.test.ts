import { describe, expect, it } from 'vitest';
import { tokeniseCard } from '../../../src/fraud/payments/card-token.js';
import { jsonPayments, parsePayment } from '../../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../../src/fraud/payments/encode-json.js';
import { InvalidPaymentError } from '../../../src/fraud/payments/refusal.js';
import { hash53 } from '../../../src/stream/state/key-index.js';
import { FULL, PLAIN, recordsOf, rowOf } from './fixtures.js';

const secret = 'a secret of enough bytes';

function decode(values: readonly (Buffer | string | null)[], tokenise = tokeniseCard(secret)) {
  const source = jsonPayments({ topic: 'payments.raw', featureCount: 3, tokenise });
  const batch = source.makeBatch(Math.max(1, values.length));
  recordsOf(values, batch.records);
  const rejects: { index: number; code: string; message: string }[] = [];
  source.decode(batch, batch.records, { reject: (index, code, message) => rejects.push({ index, code, message }) });
  return { batch, rejects, counters: source.decoder.counters };
}

const withField = (name: string, raw: string) =>
  `${JSON.stringify({ ...FULL, [name]: undefined }).slice(0, -1)},"${name}":${raw}}`;

describe('decoding JSON payments', () => {
  it('reads a plain payment in place, on the fast path', () => {
    const { batch, rejects, counters } = decode([PLAIN, FULL, PLAIN].map(encodePayment));
    expect(rejects).toEqual([]);
    expect(counters.strict).toBe(0);
    expect([batch.count, batch.inSide[0], batch.inSide[1]]).toEqual([3, 0, 0]);
    expect(rowOf(batch, 1)).toEqual({
      cardId: FULL.cardId,
      merchantId: FULL.merchantId,
      paymentId: FULL.paymentId,
      deviceId: 'device-77',
      ip: '192.0.2.17',
      merchantHash: expect.any(Number),
      amountMinor: 5716,
      occurredAt: FULL.occurredAt,
      country: (66 << 8) | 69,
      currency: (69 << 16) | (85 << 8) | 82,
      mcc: 5412,
      channel: 1,
      status: 1,
      latitude: 50.8503,
      longitude: -4.3517,
    });
    expect(rowOf(batch, 0)).toMatchObject({
      deviceId: '',
      ip: '',
      country: 0,
      mcc: 0,
      channel: 0,
      status: 0,
      latitude: Number.NaN,
      longitude: Number.NaN,
    });
    // Nothing of the payment before is left.
    expect(rowOf(batch, 2)).toEqual(rowOf(batch, 0));
    const merchant = Buffer.from(FULL.merchantId);
    expect(batch.merchantHash[1]).toBe(hash53(merchant, 0, merchant.length));
  });

  it('reads escapes and text beyond ASCII on the strict path, with the same hash as plain text', () => {
    const escaped = '"merchant-\\u0033156"';
    const { batch, rejects, counters } = decode([
      withField('merchantId', escaped),
      withField('cardId', '"carte-é"'),
      encodePayment(PLAIN),
    ]);
    expect(rejects).toEqual([]);
    expect(counters.strict).toBe(2);
    expect([batch.merchantId(0), batch.cardId(1), batch.cardId(2)]).toEqual(['merchant-3156', 'carte-é', PLAIN.cardId]);
    expect(batch.merchantHash[0]).toBe(batch.merchantHash[2]);
  });

  it('keeps rows in record order and tells which record each came from when others are refused', () => {
    const { batch, rejects } = decode([null, encodePayment(PLAIN), '{', encodePayment(FULL)]);
    expect(batch.count).toBe(2);
    expect([...batch.recordIndex.subarray(0, 2)]).toEqual([1, 3]);
    expect(rejects.map(({ index, code }) => [index, code])).toEqual([
      [0, 'null-value'],
      [2, 'malformed-json'],
    ]);
  });

  it('starts anew with every decode into the same batch', () => {
    const source = jsonPayments({ topic: 'payments.raw' });
    const batch = source.makeBatch(4);
    const refuse = { reject: () => {} };
    const strict = withField('cardId', '"carte-é"');
    recordsOf([strict, encodePayment(FULL), strict], batch.records);
    source.decode(batch, batch.records, refuse);
    const { sideLength } = batch;
    recordsOf([encodePayment(PLAIN), strict], batch.records);
    source.decode(batch, batch.records, refuse);
    expect([batch.count, batch.sideLength]).toEqual([2, sideLength / 2]);
    expect([batch.cardId(0), batch.cardId(1)]).toEqual([PLAIN.cardId, 'carte-é']);
    expect([batch.country[0], batch.latitude[0]]).toEqual([0, Number.NaN]);
  });

  it('passes over unknown fields, nested ones too', () => {
    const { batch, rejects } = decode([
      withField('extra', '"x"'),
      withField('extra', '-1.5e3'),
      withField('extra', '[{"cardId":"other"}]'),
      withField('extra', 'true'),
      withField('__proto__', '{"cardId":"other"}'),
    ]);
    expect(rejects).toEqual([]);
    for (let row = 0; row < 5; row++) expect(batch.cardId(row)).toBe(FULL.cardId);
  });

  it('takes null for an absent optional field, and any JSON whole number', () => {
    const { batch, rejects } = decode([
      withField('country', 'null'),
      withField('amountMinor', '1.5e3'),
      withField('amountMinor', '25.0'),
      withField('amountMinor', '-0'),
    ]);
    expect(rejects).toEqual([]);
    expect([...batch.amountMinor.subarray(0, 4)]).toEqual([5716, 1500, 25, 0]);
    expect(batch.country[0]).toBe(0);
  });

  it.each([
    ['amountMinor', '"amountMinor":1'],
    ['amountMinor', '"amountMinor":5716'],
    ['amountMinor', '"amountMinor":null'],
    ['country', '"country":null'],
    ['cardId', '"card\\u0049d":"other"'],
    ['extra', '"extra":1,"extra":1'],
    ['extra', '"extra":{"a":"}"},"e\\u0078tra":["\\""]'],
    ['__proto__', '"__proto__":1,"__proto__":2'],
    ['', '"":1,"":2'],
    ['a"\\', '"a\\"\\\\":1,"a\\u0022\\\\":2'],
  ])('refuses a message that names %s twice, wherever and however it is written', (name, fields) => {
    const { rejects } = decode([`{${fields},${JSON.stringify(FULL).slice(1)}`, withField('end', `0,${fields}`)]);
    const message = `the field ${JSON.stringify(name)} comes twice; send each field once`;
    expect(rejects).toEqual([0, 1].map((index) => ({ index, code: 'duplicate-field', message })));
  });

  it('does not take texts, nested names or lists for fields that come twice', () => {
    const { rejects } = decode([
      withField('extra', '{"cardId":1,"a":[{"cardId":2}]},"other":["cardId","cardId",{"cardId":"cardId"}]'),
      withField('extra', '"cardId","other":"\\",\\"cardId\\":1","\\u0041":"\\\\","é":"cardId"'),
    ]);
    expect(rejects).toEqual([]);
  });

  it('takes many unknown fields, each once, and finds one among them that comes twice', () => {
    const fields = Array.from({ length: 40 }, (_, i) => `"unknown-${i}":${i}`);
    const { rejects } = decode([
      withField('x', `0,${fields.join()}`),
      withField('x', `0,${fields.join()},"unknown-39":0`),
      withField('x', `0,${fields.slice(0, 9).join()},"unknown-3":0`),
    ]);
    expect(rejects.map(({ index, code }) => [index, code])).toEqual([
      [1, 'duplicate-field'],
      [2, 'duplicate-field'],
    ]);
  });

  it.each([
    ['null-value', null, 'the record has no value'],
    ['too-large', `{"x":"${'a'.repeat(65_536)}"}`, 'the value has 65544 bytes, the limit is 65536'],
    ['not-utf8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), "the value's 5 bytes are not UTF-8"],
    ['malformed-json', '', 'the value is empty'],
    ['malformed-json', '{"cardId":"4111111111111111",}', 'the value is not JSON: unexpected character at 29 of 30'],
    ['malformed-json', '{"cardId":"41111111', 'the value is cut off: JSON ends too early, after 19 characters'],
    ['malformed-json', '4111x', 'the value is not JSON: unexpected character at 4 of 5'],
    ['not-an-object', '[1]', 'a payment must be an object, found an array'],
    ['not-an-object', '["a","b","b"]', 'a payment must be an object, found an array'],
    ['not-an-object', '"4111111111111111"', 'a payment must be an object, found text "***"'],
    ['missing-field', '{}', 'paymentId is missing'],
    ['wrong-type', withField('merchantId', 'null'), 'merchantId is null'],
    ['wrong-type', withField('amountMinor', '"12.5"'), 'amountMinor must be a whole number, found text "12.5"'],
    ['wrong-type', withField('cardId', '4111111111111111'), 'cardId must be a text, found a number of 16 digits'],
    ['out-of-range', withField('amountMinor', '-1'), 'amountMinor must be from 0 to 1000000000000, found number -1'],
    [
      'out-of-range',
      withField('occurredAt', '0'),
      'occurredAt must be from 946684800000 to 4102444800000, found number 0',
    ],
    ['bad-format', withField('amountMinor', '1.5'), 'amountMinor must be a whole number, found number 1.5'],
    [
      'bad-format',
      withField('currency', '"eur"'),
      'currency must be three capital letters (ISO 4217), found text "eur"',
    ],
    ['bad-format', withField('country', '"BEL"'), 'country must be two capital letters (ISO 3166-1), found text "BEL"'],
    ['bad-format', withField('mcc', '"54 1"'), 'mcc must be four digits (ISO 18245), found text "54 1"'],
    [
      'bad-format',
      withField('channel', '"fax"'),
      'channel must be one of pos, ecom, atm, moto, other, found text "fax"',
    ],
    ['bad-format', withField('ip', '"1.2.3.256"'), 'ip must be an IPv4 or IPv6 address, found text "1.2.3.256"'],
    ['bad-format', withField('paymentId', '""'), 'paymentId is empty'],
    ['bad-format', withField('paymentId', '"a\\u0000b"'), 'paymentId holds a control character'],
    ['bad-format', withField('deviceId', '"\\ud800"'), 'deviceId holds a control character or half a surrogate pair'],
    ['too-long', withField('merchantId', `"${'m'.repeat(65)}"`), 'merchantId has 65 bytes, the limit is 64'],
    ['too-long', withField('merchantId', `"${'é'.repeat(33)}"`), 'merchantId has 66 bytes, the limit is 64'],
    ['out-of-range', withField('latitude', '90.01'), 'latitude must be from -90 to 90, found number 90.01'],
    ['missing-field', withField('longitude', 'null'), 'longitude is missing though latitude is given'],
  ])('refuses with %s: %#', (code, value, message) => {
    const { batch, rejects } = decode([value]);
    expect(batch.count).toBe(0);
    expect(rejects).toEqual([{ index: 0, code, message: expect.stringContaining(message) }]);
    if (value !== null) expect(() => parsePayment(Buffer.from(value))).toThrow(InvalidPaymentError);
  });

  it('parses the whole payment for evidence, validated fields alone', () => {
    expect(parsePayment(encodePayment(FULL))).toEqual(FULL);
    expect(parsePayment(Buffer.from(withField('note', '"not ours"')))).toEqual(FULL);
    expect(parsePayment(encodePayment(PLAIN))).toEqual(PLAIN);
  });
});

describe('a card number in clear', () => {
  const numbers = [
    '4111111111111111',
    '378282246310005',
    '6304 0000 0000 0000 000',
    '4222222222222',
    '4111-1111-1111-1111',
  ];

  it('becomes a token before the batch sees it, the same for every spelling, and is counted', () => {
    const { batch, rejects, counters } = decode(numbers.map((number) => withField('cardId', `"${number}"`)));
    expect(rejects).toEqual([]);
    expect(counters.tokenised).toBe(numbers.length);
    for (let row = 0; row < numbers.length; row++) expect(batch.cardId(row)).toMatch(/^tok_[\w-]{22}$/);
    expect(batch.cardId(0)).toBe(batch.cardId(4));
    expect(batch.cardId(0)).not.toBe(batch.cardId(1));
    const parsed = parsePayment(Buffer.from(withField('cardId', '"4111111111111111"')), {
      tokenise: tokeniseCard(secret),
    });
    expect(parsed.cardId).toBe(batch.cardId(0));
  });

  it('is refused where there is no secret, and never told', () => {
    const source = jsonPayments({ topic: 'payments.raw' });
    const batch = source.makeBatch(1);
    recordsOf([withField('cardId', '"4111111111111111"')], batch.records);
    const rejects: string[] = [];
    source.decode(batch, batch.records, { reject: (_, code, message) => rejects.push(`${code} ${message}`) });
    expect(rejects).toHaveLength(1);
    expect(rejects[0]).toMatch(/^pan-in-clear /);
    expect(rejects[0]).not.toMatch(/\d{5}/);
  });

  it('is not seen in a token of digits that fails the check, nor in 12 or 20 digits', () => {
    const tokens = ['4111111111111112', '411111111111', '41111111111111111111'];
    const { batch, counters } = decode(tokens.map((token) => withField('cardId', `"${token}"`)));
    expect(counters.tokenised).toBe(0);
    expect(tokens.map((_, row) => batch.cardId(row))).toEqual(tokens);
  });

  it('does not leak through any refusal', () => {
    const pan = '4111111111111111';
    const values = ['paymentId', 'merchantId', 'currency', 'country', 'mcc', 'channel', 'ip', 'amountMinor', 'latitude']
      .flatMap((name) => [
        withField(name, `"x ${pan}\\u0001"`),
        withField(name, pan),
        withField(name, `["${pan}"]`),
        withField(name, `"4111 1111 1111 1111${'x'.repeat(99)}"`),
      ])
      .concat(
        withField(pan, `1,"${pan}":2`),
        withField(`x${'y'.repeat(90)}`, `1,"4111 1111 1111 1111":1,"4111 1111 1111 1111":1`),
      )
      .concat(withField('cardId', `"${pan}\\n"`), pan, `"${pan}"`, `{"cardId":"${pan}"`, `${pan}"`);
    const { rejects } = decode(values);
    expect(rejects.length).toBeGreaterThan(30);
    for (const { message } of rejects) expect(message.replace(/[ -]/g, '')).not.toContain('41111111');
  });

  it('needs a secret of 16 bytes', () => {
    expect(() => tokeniseCard('short')).toThrow(/at least 16/);
  });
});
