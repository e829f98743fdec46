import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { tokeniseCard } from '../../../src/fraud/payments/card-token.js';
import { parsePayment } from '../../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../../src/fraud/payments/encode-json.js';
import { type PaymentFileOptions, readPaymentFile } from '../../../src/fraud/payments/labelled-file.js';
import type { Payment } from '../../../src/fraud/payments/payment.js';
import { FULL, PLAIN } from './fixtures.js';

const directory = mkdtempSync(join(tmpdir(), 'payment-files-'));
afterAll(() => rmSync(directory, { recursive: true }));
let files = 0;

function written(content: string | Buffer): string {
  const path = join(directory, `payments-${files++}`);
  writeFileSync(path, content);
  return path;
}

/** Everything a file holds, and the error it ended with. */
async function read(path: string, options: PaymentFileOptions = {}) {
  const payments: Payment[] = [];
  const keys: string[] = [];
  let last = { bytesRead: -1, totalBytes: -1, skipped: -1, lastSkipped: null as unknown };
  let error: { code?: string; message?: string } | null = null;
  try {
    for await (const batch of readPaymentFile(path, options)) {
      for (const { key, value, occurredAtMs } of batch.payments) {
        payments.push(parsePayment(value));
        keys.push(key.toString());
        expect(occurredAtMs).toBe(payments.at(-1)?.occurredAt);
      }
      last = batch;
    }
  } catch (thrown) {
    error = thrown as Error;
  }
  expect(keys).toEqual(payments.map(({ cardId }) => cardId));
  return { ...last, payments, error };
}

const HEADER = 'tx_id,epoch_s,customer_id,terminal_id,amount,is_fraud,scenario';
const labelled = [
  HEADER,
  '0,1522540831,596,3156,57.16,0,0',
  '7,1522541276,2,1365,146.0,1,2',
  '8,1522541276,2,1365,9,0,0',
];
const labelledPayment = { paymentId: 'tx-0', cardId: 'card-596', merchantId: 'merchant-3156', amountMinor: 5716 };

describe('reading payment files', () => {
  it.each([
    ['plain', Buffer.from(`${labelled.join('\n')}\n`)],
    ['gzipped', gzipSync(`${labelled.join('\n')}\n`)],
    [
      'in two gzip members, without a last line end',
      Buffer.concat([gzipSync(`${labelled[0]}\n${labelled[1]}\n`), gzipSync(labelled.slice(2).join('\n'))]),
    ],
    [
      'with Windows line ends, a byte order mark and empty lines',
      Buffer.from(`\ufeff${labelled.join('\r\n\r\n')}\r\n`),
    ],
  ])('reads the labelled file, %s', async (_, content) => {
    const { payments, error, bytesRead, totalBytes, skipped } = await read(written(content));
    expect(error).toBeNull();
    expect(payments[0]).toEqual({ ...labelledPayment, currency: 'EUR', occurredAt: 1_522_540_831_000 });
    expect(payments.map(({ amountMinor }) => amountMinor)).toEqual([5716, 14600, 900]);
    expect([bytesRead, totalBytes, skipped]).toEqual([content.length, content.length, 0]);
  });

  it('reads NDJSON, values as they stand', async () => {
    const path = written(`${encodePayment(FULL)}\n{ "extra": [1], ${JSON.stringify(PLAIN).slice(1)}`);
    expect((await read(path)).payments).toEqual([FULL, PLAIN]);
    const values: string[] = [];
    for await (const { payments } of readPaymentFile(path))
      values.push(...payments.map(({ value }) => value.toString()));
    expect(values[1]).toContain('"extra": [1]');
  });

  it('reads CSV under our own names, in any order, quoted or not', async () => {
    const names = Object.keys(FULL).reverse();
    const cells = names.map((name) => String(FULL[name as keyof Payment]));
    const quoted = cells.map((cell) => `"${cell}"`);
    const odd = names.map((name, i) => (name === 'deviceId' ? '"a,""b"""' : name === 'country' ? '' : cells[i]));
    const { payments, error } = await read(
      written([names, cells, quoted, odd].map((line) => line.join(',')).join('\n')),
    );
    expect(error).toBeNull();
    const { country: _, ...rest } = FULL;
    expect(payments).toEqual([FULL, FULL, { ...rest, deviceId: 'a,"b"' }]);
  });

  it('gives the same payments however lines fall over batches and chunks', async () => {
    const lines = Array.from(
      { length: 30_000 },
      (_, i) => `${i},${1522540831 + i},${i % 977},${i % 131},${i % 300}.${10 + (i % 90)},0,0`,
    );
    const path = written(gzipSync([HEADER, ...lines].join('\n')));
    const sizes: number[] = [];
    const ids: string[] = [];
    for await (const { payments } of readPaymentFile(path, { batchSize: 777 })) {
      sizes.push(payments.length);
      for (const { value } of payments) ids.push(parsePayment(value).paymentId);
    }
    expect(Math.max(...sizes)).toBe(777);
    expect(ids).toEqual(lines.map((_, i) => `tx-${i}`));
  });

  it.each([
    ['a letter in a number', '1,15225x,1,1,1.0,0,0'],
    ['too few fields', '1,1522540831,1,1,1.0,0'],
    ['too many fields', '1,1522540831,1,1,1.0,0,0,0'],
    ['an empty field', '1,1522540831,,1,1.0,0,0'],
    ['a sign', '1,1522540831,1,1,-1.0,0,0'],
    ['a time before 2000', '1,900000000,1,1,1.0,0,0'],
    ['a line over the limit', `1,1522540831,1,1,1.0,0,${'0'.repeat(70_000)}`],
  ])('stops at a malformed line and names it, after the payments before it: %s', async (_, bad) => {
    const path = written([...labelled, bad, labelled[1]].join('\n'));
    const { payments, error } = await read(path);
    expect(payments).toHaveLength(3);
    expect(error).toMatchObject({
      code: 'payment-file-malformed',
      message: expect.stringContaining(`${path}, line 5: `),
    });
    const skipping = await read(path, { malformed: 'skip' });
    expect(skipping).toMatchObject({ error: null, skipped: 1, lastSkipped: { line: 5 } });
    expect(skipping.payments).toHaveLength(4);
  });

  it('passes over a line far longer than its buffers without gathering it', async () => {
    // The line's end comes in a chunk of its own, where it looks like a payment.
    const begin = `${labelled.join('\n')}\n`;
    const path = written(`${begin}${'1'.repeat(1024 * 1024 - begin.length)}${labelled[1]}\n${labelled[1]}\n`);
    const { payments, skipped, lastSkipped } = await read(path, { malformed: 'skip' });
    expect([payments.length, skipped]).toEqual([4, 1]);
    expect(lastSkipped).toMatchObject({ line: 5, code: 'too-large' });
  });

  it('keeps card numbers in clear out of keys and values', async () => {
    const inClear = JSON.stringify({ ...PLAIN, cardId: '4111111111111111' });
    const path = written(`${inClear}\n`);
    const refused = await read(path);
    expect(refused.error).toMatchObject({
      code: 'payment-file-malformed',
      message: expect.not.stringContaining('4111'),
    });
    const [payment] = (await read(path, { tokenise: tokeniseCard('a secret of enough bytes') })).payments;
    expect(payment.cardId).toMatch(/^tok_/);
  });

  it.each([
    ['payment-file-format', 'time,amount\n1,2\n', 'the first line is neither'],
    ['payment-file-format', 'paymentId,cardId\n1,2\n', 'names no merchantId, no amountMinor'],
    [
      'payment-file-format',
      'paymentId,cardId,merchantId,amountMinor,currency,occurredAt,cardId\n',
      'the CSV header names cardId twice',
    ],
    ['payment-file-unreadable', gzipSync(labelled.join('\n')).subarray(0, 60), 'unexpected end of file'],
    ['payment-file-unreadable', Buffer.from([0x1f, 0x8b, 1, 2, 3, 4]), 'cannot read'],
  ])('says what is wrong with a file: %s, %#', async (code, content, message) => {
    const { error } = await read(written(content));
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it('says so when there is no file, or a directory', async () => {
    expect((await read(join(directory, 'none'))).error).toMatchObject({ code: 'payment-file-unreadable' });
    expect((await read(directory)).error).toMatchObject({ code: 'payment-file-unreadable' });
    expect((await read(written(''))).payments).toEqual([]);
  });

  it('can be left early', async () => {
    const path = written([HEADER, ...Array.from({ length: 50_000 }, () => labelled[1])].join('\n'));
    for await (const { payments } of readPaymentFile(path, { batchSize: 10 })) {
      expect(payments).toHaveLength(10);
      break;
    }
  });

  const shared = new URL('../../../../shared/data/payments-labelled.csv.gz', import.meta.url).pathname;
  it.skipIf(!existsSync(shared))('reads all 1,303,778 labelled payments', async () => {
    let count = 0;
    let sumMinor = 0;
    for await (const { payments } of readPaymentFile(shared)) {
      count += payments.length;
      for (const { value } of payments) sumMinor += Number(/"amountMinor":(\d+)/.exec(value.toString('latin1'))?.[1]);
    }
    expect([count, sumMinor]).toEqual([1_303_778, 6_990_791_788]);
  });
});
