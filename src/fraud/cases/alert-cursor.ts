/** Owns the paging cursor: a place in a list of alerts as one opaque word (base64url). Neighbours: the API hands it out. */
import { StreamError } from '../../stream/errors.js';
import { type AlertOrder, type AlertPosition, LESS_THAN_ALL } from './stored-alert.js';

/** A cursor that this version did not make, or made for a list in another order. */
export class CursorInvalidError extends StreamError {
  constructor() {
    super('cursor-invalid', 'The cursor is not one that a list in this order gave as `next`; start again without it.');
  }
}

/** The order goes with the place: in another order it would be the place of nothing. */
export function encodeCursor({ by, descending }: AlertOrder, { value, alertId }: AlertPosition): string {
  return Buffer.from(`${by} ${descending ? 'desc' : 'asc'} ${value} ${alertId}`, 'latin1').toString('base64url');
}

/** Errors: {@link CursorInvalidError}. */
export function decodeCursor({ by, descending }: AlertOrder, cursor: string): AlertPosition {
  const text = Buffer.from(cursor.slice(0, 128), 'base64url').toString('latin1');
  const [name, direction, number = '', alertId = '', ...more] = text.split(' ');
  const value = Number(number);
  const isOurs =
    name === by &&
    direction === (descending ? 'desc' : 'asc') &&
    /^-?\d/.test(number) &&
    value >= (by === 'detectedAt' ? 0 : LESS_THAN_ALL) &&
    value <= Number.MAX_SAFE_INTEGER &&
    /^[0-9a-f]{32}$/.test(alertId) &&
    more.length === 0;
  if (!isOurs || (by !== 'score' && !Number.isInteger(value))) throw new CursorInvalidError();
  return { value, alertId };
}
