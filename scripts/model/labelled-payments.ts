/**
 * Owns the reading of labelled payments for training: a CSV file, gzipped or not, in event-time order, with the header
 * tx_id,epoch_s,customer_id,terminal_id,amount,is_fraud,scenario. Customer is the card, terminal the merchant, amount
 * in major units with two decimals. Neighbours: `card-replay.ts` runs them through the detector's own steps.
 */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';

const HEADER = 'tx_id,epoch_s,customer_id,terminal_id,amount,is_fraud,scenario';

export interface LabelledPayment {
  readonly paymentId: number;
  readonly occurredAt: number;
  readonly cardId: string;
  readonly merchantId: string;
  readonly amountMinor: number;
  readonly isFraud: boolean;
}

/** Every payment of a file. Errors: a header or a line in another form, named by its number. */
export async function* labelledPayments(file: string): AsyncGenerator<LabelledPayment> {
  const bytes = createReadStream(file);
  const input = file.endsWith('.gz') ? bytes.pipe(createGunzip()) : bytes;
  // A file that can't be read ends its pipe's other side too, which the reader below throws.
  bytes.on('error', (error) => input.destroy(error));
  let lineNumber = 0;
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    lineNumber++;
    if (lineNumber === 1) {
      if (line !== HEADER)
        throw new Error(`${file} must begin with the header ${HEADER}, found: ${line.slice(0, 200)}`);
    } else if (line !== '') {
      yield parseLine(line, `${file}, line ${lineNumber}`);
    }
  }
}

function parseLine(line: string, where: string): LabelledPayment {
  const fields = line.split(',');
  const [id, seconds, cardId, merchantId, amount, fraud] = fields;
  const payment = {
    paymentId: Number(id),
    occurredAt: Number(seconds) * 1_000,
    cardId: cardId ?? '',
    merchantId: merchantId ?? '',
    amountMinor: Math.round(Number(amount) * 100),
    isFraud: fraud === '1',
  };
  const isWhole = [payment.paymentId, payment.occurredAt, payment.amountMinor].every(Number.isSafeInteger);
  if (fields.length !== 7 || !isWhole || cardId === '' || merchantId === '') {
    throw new Error(`${where} is not a labelled payment: ${line.slice(0, 200)}`);
  }
  return payment;
}
