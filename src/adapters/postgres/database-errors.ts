/**
 * Owns what a failure of the database means: worth another try, a value that it refuses, or a defect.
 * Neighbours: everything here that sends a query.
 */
import { QueryFailedError } from 'typeorm';
import { StreamError } from '../../stream/errors.js';

/** The database can't be reached, is starting or stopping, or gave up for the moment. Another try may succeed. */
export class DatabaseUnavailableError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('database-unavailable', message, options);
  }
}

/** The database answered and said no. A defect, or missing rights. */
export class DatabaseRefusedError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('database-refused', message, options);
  }
}

/** The SQLSTATE of a failed query, or null. Source: PostgreSQL's appendix A. */
export function sqlState(error: unknown): string | null {
  const cause: unknown = error instanceof QueryFailedError ? error.driverError : error;
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : null;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : null;
}

/** A value that can't be stored whatever is tried: class 22 (data exception) or a failed check. */
export function isValueRefused(error: unknown): boolean {
  const state = sqlState(error);
  return state !== null && (state.startsWith('22') || state === '23514' || state === '54000');
}

/** Connection trouble, shutdown, exhausted resources, deadlock and serialisation, time-outs. */
const RETRIABLE = /^(08|53|40|57P0|57014|55P03|25006)/;

/** Names the failure; `doing` tells what was tried ("storing alerts"). */
export function databaseError(error: unknown, doing: string): StreamError {
  if (error instanceof StreamError) return error;
  const state = sqlState(error);
  const said = error instanceof Error ? error.message : String(error);
  // Without an SQLSTATE it was no answer of the server: a socket or pool error.
  if (state === null || RETRIABLE.test(state)) {
    return new DatabaseUnavailableError(`The database could not be used for ${doing}: ${said}`, { cause: error });
  }
  return new DatabaseRefusedError(`The database refused ${doing} (SQLSTATE ${state}): ${said}`, { cause: error });
}
