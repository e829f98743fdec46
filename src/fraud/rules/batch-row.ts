/**
 * Owns the values of one row of a batch, as row-by-row conditions and reasons read them: numbers and flags from the
 * columns, texts from the payment itself, which is read again from its record's bytes, once a row and only when asked.
 * Neighbours: `variables.ts` says where values lie, `compile-rules.ts` moves this from row to row.
 */
import type { Payment } from '../payments/payment.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { ValueSource } from './language.js';
import { RuleFailedError } from './row-test.js';
import type { ColumnPlace, Variables } from './variables.js';

/** Reads a payment that has been decoded once already. */
export type ParsePayment = (bytes: Buffer) => Payment;

export class BatchRow implements ValueSource {
  private batch: PaymentBatch | null = null;
  private row = 0;
  private parsed: Payment | null = null;

  constructor(
    private readonly variables: Variables,
    private readonly parse: ParsePayment,
  ) {}

  moveTo(batch: PaymentBatch, row: number): void {
    this.batch = batch;
    this.row = row;
    this.parsed = null;
  }

  /** Lets go of the batch. */
  leave(): void {
    this.batch = null;
    this.parsed = null;
  }

  number(name: string): number {
    return this.at(this.placeOf(name));
  }

  flag(name: string): boolean {
    const place = this.placeOf(name);
    return (this.at(place) & place.mask) !== 0;
  }

  text(name: string): string {
    const field = this.variables.get(name)?.field ?? null;
    if (field === null || this.batch === null) throw new TypeError(`${name} is no text of a payment`);
    switch (field) {
      // Nearly every payment has these as columns: they are cheaper there.
      case 'cardId':
        return this.batch.cardId(this.row);
      case 'merchantId':
        return this.batch.merchantId(this.row);
      case 'paymentId':
        return this.batch.paymentId(this.row);
      case 'country':
        return countryText(this.batch.country[this.row]);
      default: {
        const value = this.payment()[field];
        return typeof value === 'string' ? value : '';
      }
    }
  }

  /** The whole payment. Errors: {@link RuleFailedError} where its record cannot be read again. */
  payment(): Payment {
    if (this.parsed !== null) return this.parsed;
    const { batch } = this;
    const bytes = batch?.records.value(batch.recordIndex[this.row]) ?? null;
    if (bytes === null) throw new RuleFailedError('the payment has no record to be read from');
    this.parsed = this.parse(bytes);
    return this.parsed;
  }

  private placeOf(name: string): ColumnPlace {
    const place = this.variables.get(name)?.place ?? null;
    if (place === null) throw new TypeError(`${name} has no column`);
    return place;
  }

  private at(place: ColumnPlace): number {
    if (this.batch === null) return Number.NaN;
    return place.column(this.batch)[this.row * place.stride(this.batch) + place.offset];
  }
}

function countryText(code: number): string {
  return code === 0 ? '' : String.fromCharCode(code >> 8, code & 0xff);
}

/** Values outside a batch (timers), by name. Those that are not there are not known. */
export class NamedValues implements ValueSource {
  constructor(private readonly values: Readonly<Record<string, number | boolean | string>>) {}

  number(name: string): number {
    const value = this.values[name];
    return typeof value === 'number' ? value : Number.NaN;
  }

  flag(name: string): boolean {
    return this.values[name] === true;
  }

  text(name: string): string {
    const value = this.values[name];
    return typeof value === 'string' ? value : '';
  }
}
