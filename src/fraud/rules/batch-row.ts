/**
 * Owns the values of one row of a batch, as CEL and reasons read them: numbers and flags from the columns, texts from
 * the numbers that stand for them or from their own bytes, when they are asked for.
 * Neighbours: `variables.ts` says where values lie, `compile-rules.ts` moves this from row to row.
 */
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { ValueSource } from './language.js';
import type { ColumnPlace, Variables } from './variables.js';

export class BatchRow implements ValueSource {
  private batch: PaymentBatch | null = null;
  private row = 0;

  constructor(private readonly variables: Variables) {}

  moveTo(batch: PaymentBatch, row: number): void {
    this.batch = batch;
    this.row = row;
  }

  /** Lets go of the batch. */
  leave(): void {
    this.batch = null;
  }

  number(name: string): number {
    return this.at(this.placeOf(name));
  }

  flag(name: string): boolean {
    const place = this.placeOf(name);
    return (this.at(place) & place.mask) !== 0;
  }

  text(name: string): string {
    const text = this.variables.get(name)?.text ?? null;
    const { batch, row } = this;
    if (text === null || batch === null) throw new TypeError(`${name} is no text of a payment`);
    if (text.kind === 'coded') return text.textOf((text.column(batch)[row] >>> text.shift) & text.mask);
    const at = row * text.stride;
    const start = text.start(batch)[at + text.startOffset];
    return batch.textBytes(row).toString('utf8', start, start + text.length(batch)[at + text.lengthOffset]);
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
