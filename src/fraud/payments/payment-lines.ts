/**
 * Owns the kinds of payment files, line by line: which kind a file is, and what payment a line holds. No I/O.
 * Neighbours: `labelled-file.ts` reads files and hands over their lines.
 *
 *   labelled   CSV `tx_id,epoch_s,customer_id,terminal_id,amount,is_fraud,scenario` (the Fraud Detection Handbook's
 *              simulated payments): customer = card, terminal = merchant, amounts in euros
 *   csv        a header with the payment's own field names in any order, empty fields absent
 *   ndjson     a payment's JSON a line, as it goes to the topic
 */
import type { TokeniseCard } from './card-token.js';
import { readStrictly } from './decode-json.js';
import { encodePayment } from './encode-json.js';
import { PAYMENT_LIMITS } from './payment.js';
import { FIELD } from './plain-payment.js';
import { Refusal } from './refusal.js';
import { PaymentScan } from './scan-payment.js';
import { validatePayment } from './validate-payment.js';

/** A payment ready for the topic. `value` can be a view into the file's bytes: valid while it is held. */
export interface FeedPayment {
  /** The card's id. */
  readonly key: Buffer;
  /** The payment's JSON. */
  readonly value: Buffer;
  readonly occurredAtMs: number;
}

export interface LineFormat {
  readonly name: 'labelled' | 'csv' | 'ndjson';
  /** The first line holds names, and no payment. */
  readonly hasHeader: boolean;
  /** The payment in `bytes[start, end)`, a line without its end. */
  read(bytes: Buffer, start: number, end: number): FeedPayment | Refusal;
}

const LABELLED_HEADER = 'tx_id,epoch_s,customer_id,terminal_id,amount,is_fraud,scenario';
const NUMBER_FIELDS = new Set(['amountMinor', 'occurredAt', 'latitude', 'longitude']);
const REQUIRED_FIELDS = ['paymentId', 'cardId', 'merchantId', 'amountMinor', 'currency', 'occurredAt'];

/** The kind of file that begins with this line, or what is wrong with it. */
export function lineFormatOf(firstLine: string, tokenise: TokeniseCard | null): LineFormat | Refusal {
  const line = firstLine.replace(/^\ufeff/, '').trim();
  if (line.startsWith('{')) return ndjsonLines(tokenise);
  if (line === LABELLED_HEADER) return labelledLines();
  const names = splitCsv(line);
  if (names?.includes('paymentId')) {
    const missing = REQUIRED_FIELDS.filter((name) => !names.includes(name));
    if (missing.length > 0) return new Refusal('missing-field', `the CSV header names no ${missing.join(', no ')}`);
    const twice = names.find((name, index) => Object.hasOwn(FIELD, name) && names.indexOf(name) < index);
    if (twice !== undefined) return new Refusal('duplicate-field', `the CSV header names ${twice} twice`);
    return csvLines(names, tokenise);
  }
  return new Refusal(
    'bad-format',
    `the first line is neither a payment in JSON nor a CSV header that names ${REQUIRED_FIELDS.join(', ')}`,
  );
}

function ndjsonLines(tokenise: TokeniseCard | null): LineFormat {
  const scan = new PaymentScan();
  return {
    name: 'ndjson',
    hasHeader: false,
    read(bytes, start, end) {
      if (end - start <= PAYMENT_LIMITS.maxBytes && scan.read(bytes, start, end)) {
        const card = scan.start[FIELD.cardId];
        return {
          key: bytes.subarray(card, card + scan.length[FIELD.cardId]),
          value: bytes.subarray(start, end),
          occurredAtMs: scan.number[FIELD.occurredAt],
        };
      }
      const value = bytes.subarray(start, end);
      let tokenised = false;
      const payment = readStrictly(
        value,
        tokenise &&
          ((digits) => {
            tokenised = true;
            return tokenise(digits);
          }),
      );
      if (payment instanceof Refusal) return payment;
      return {
        key: Buffer.from(payment.cardId),
        // As it stands, unknown fields and all, unless it would carry a card number in clear.
        value: tokenised ? encodePayment(payment) : value,
        occurredAtMs: payment.occurredAt,
      };
    },
  };
}

function csvLines(names: readonly string[], tokenise: TokeniseCard | null): LineFormat {
  return {
    name: 'csv',
    hasHeader: true,
    read(bytes, start, end) {
      const cells = splitCsv(bytes.toString('utf8', start, end));
      if (cells === null) return new Refusal('bad-format', 'a quoted field does not end, or goes on after its quote');
      if (cells.length !== names.length) {
        return new Refusal('bad-format', `the line has ${cells.length} fields, the header names ${names.length}`);
      }
      const fields: Record<string, unknown> = {};
      cells.forEach((cell, index) => {
        if (cell === '') return;
        const name = names[index];
        fields[name] = NUMBER_FIELDS.has(name) && /^-?\d+(\.\d+)?$/.test(cell) ? Number(cell) : cell;
      });
      const payment = validatePayment(fields, tokenise);
      if (payment instanceof Refusal) return payment;
      return { key: Buffer.from(payment.cardId), value: encodePayment(payment), occurredAtMs: payment.occurredAt };
    },
  };
}

/** The cells of a CSV line (RFC 4180, but for line ends within quotes), or null where its quotes do not match. */
function splitCsv(line: string): string[] | null {
  if (!line.includes('"')) return line.split(',');
  const cells: string[] = [];
  let at = 0;
  for (;;) {
    let cell = '';
    if (line[at] === '"') {
      let close = line.indexOf('"', at + 1);
      while (close >= 0 && line[close + 1] === '"') close = line.indexOf('"', close + 2);
      if (close < 0) return null;
      cell = line.slice(at + 1, close).replaceAll('""', '"');
      at = close + 1;
    } else {
      const comma = line.indexOf(',', at);
      const end = comma < 0 ? line.length : comma;
      cell = line.slice(at, end);
      at = end;
    }
    cells.push(cell);
    if (at === line.length) return cells;
    if (line[at] !== ',') return null;
    at += 1;
  }
}

const COMMA = 0x2c;
const POINT = 0x2e;
const ZERO = 0x30;

/** The labelled file's lines, read without a string a cell. */
function labelledLines(): LineFormat {
  const names = LABELLED_HEADER.split(',');
  const cells = new Float64Array(names.length);
  return {
    name: 'labelled',
    hasHeader: true,
    read(bytes, start, end) {
      let at = start;
      for (let cell = 0; cell < names.length; cell++) {
        const next = readDecimal(bytes, at, end, names[cell] === 'amount' ? 2 : 0, cells, cell);
        const isLast = cell === names.length - 1;
        if (next < 0 || (isLast ? next !== end : next >= end || bytes[next] !== COMMA)) {
          return new Refusal(
            'bad-format',
            `${names[cell]} is no plain number, or the line has not ${names.length} fields`,
          );
        }
        at = next + 1;
      }
      const [payment, epochS, card, merchant, amountMinor] = cells;
      const occurredAtMs = epochS * 1000;
      if (occurredAtMs < PAYMENT_LIMITS.minOccurredAt || occurredAtMs > PAYMENT_LIMITS.maxOccurredAt) {
        return new Refusal('out-of-range', `epoch_s is ${epochS}, not between the years 2000 and 2100`);
      }
      if (amountMinor > PAYMENT_LIMITS.maxAmountMinor) return new Refusal('out-of-range', 'amount is over 10^10');
      return {
        key: Buffer.from(`card-${card}`, 'latin1'),
        value: Buffer.from(
          `{"paymentId":"tx-${payment}","cardId":"card-${card}","merchantId":"merchant-${merchant}",` +
            `"amountMinor":${amountMinor},"currency":"EUR","occurredAt":${occurredAtMs}}`,
          'latin1',
        ),
        occurredAtMs,
      };
    },
  };
}

/**
 * Reads a plain number without sign into `cells[cell]`, times 10^`scale` and rounded; returns where it ends, or -1.
 * Digits are read as one whole number, so that 57.16 becomes 5716 without passing through a fraction.
 */
function readDecimal(
  bytes: Buffer,
  start: number,
  end: number,
  scale: number,
  cells: Float64Array,
  cell: number,
): number {
  let at = start;
  let value = 0;
  let point = -1;
  for (; at < end; at++) {
    const byte = bytes[at];
    if (byte === POINT && point < 0 && at > start && scale > 0) point = at;
    else if (byte >= ZERO && byte <= 0x39) value = value * 10 + byte - ZERO;
    else break;
  }
  const decimals = point < 0 ? 0 : at - point - 1;
  if (at === start || at - start > 15 || point === at - 1) return -1;
  cells[cell] = decimals <= scale ? value * 10 ** (scale - decimals) : Math.round(value / 10 ** (decimals - scale));
  return at;
}
