/** Owns the paging cursor: a place in the list of alerts as one opaque word (base64url). Neighbours: the API hands it out. */
import { StreamError } from '../../stream/errors.js';
import type { AlertPosition } from './stored-alert.js';

/** A cursor that this version did not make. */
export class CursorInvalidError extends StreamError {
  constructor() {
    super('cursor-invalid', 'The cursor is not one that a list gave as `next`; start again without it.');
  }
}

export function encodeCursor({ detectedAt, alertId }: AlertPosition): string {
  return Buffer.from(`${detectedAt}.${alertId}`, 'latin1').toString('base64url');
}

/** Errors: {@link CursorInvalidError}. */
export function decodeCursor(cursor: string): AlertPosition {
  const text = Buffer.from(cursor.slice(0, 128), 'base64url').toString('latin1');
  const found = /^(\d{1,15})\.([0-9a-f]{32})$/.exec(text);
  if (found === null) throw new CursorInvalidError();
  return { detectedAt: Number(found[1]), alertId: found[2] };
}
