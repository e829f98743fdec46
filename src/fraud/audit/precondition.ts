/**
 * Owns the guard against lost updates: whoever changes something names the revision that they have seen. Neighbours:
 * the API reads it from `If-Match`, stores check it inside the change's own database transaction.
 */
import { StreamError } from '../../stream/errors.js';

/** Revisions of which the one in force must be one. */
export type Precondition = readonly number[];

/** Somebody changed it meanwhile. */
export class PreconditionFailedError extends StreamError {
  constructor(what: string, revision: number) {
    super(
      'precondition-failed',
      `${what} has been changed meanwhile and is at revision ${revision} now. Read it again, and repeat your change with its new ETag if it is still wanted.`,
    );
  }
}

/** Throws {@link PreconditionFailedError} unless `revision`, the one in force, is among those expected. */
export function requireRevision(expected: Precondition, what: string, revision: number): void {
  if (!expected.includes(revision)) throw new PreconditionFailedError(what, revision);
}
