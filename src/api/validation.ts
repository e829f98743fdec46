/** Owns request validation: zod schemas on the routes' parameters, wrong ones answered with the parameter's name. */
import { StandardSchemaValidationPipe } from '@nestjs/common';
import { z } from 'zod';
import { RequestInvalidError } from './http-errors.js';

/** Issues as any Standard Schema library gives them. */
interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** The pipe that checks every parameter that has a schema. */
export function validationPipe(): StandardSchemaValidationPipe {
  return new StandardSchemaValidationPipe({
    exceptionFactory: (issues: readonly Issue[]) => new RequestInvalidError(issues.flatMap(named)),
  });
}

function named(issue: Issue): { name: string; message: string }[] {
  const [first] = issue.path ?? [];
  const name = typeof first === 'object' ? first.key : first;
  if (name !== undefined) return [{ name: String(name), message: issue.message }];
  // Parameters that no route knows come as one issue without a path.
  const unknown = 'keys' in issue && Array.isArray(issue.keys) ? issue.keys.map(String) : [];
  if (unknown.length === 0) return [{ name: 'request', message: issue.message }];
  return unknown.map((key) => ({ name: key.slice(0, 64), message: 'no such parameter' }));
}

/** A query parameter that holds a number: digits only, so that '' and '0x10' are refused. */
export function queryNumber<S extends z.ZodType<number, number>>(inner: S) {
  return z
    .string()
    .regex(/^-?\d{1,16}(\.\d{1,16})?$/, 'must be a number')
    .transform(Number)
    .pipe(inner);
}

/**
 * A time range, `from` inclusive and `to` exclusive, must not be empty: no list, count or export of nothing is wanted, and
 * whoever has mixed the two up wants to know. Errors: {@link RequestInvalidError}.
 */
export function requireRange(from: number | undefined, to: number | undefined): void {
  if (from === undefined || to === undefined || from < to) return;
  throw new RequestInvalidError([{ name: 'from', message: 'must be before `to`' }]);
}

// Spelt out: other languages' expressions, which read the OpenAPI document, know no \p{Cc}.
const LATER_CONTROLS = '\\u007f-\\u009f';
const ONE_LINE = new RegExp(`^[^\\u0000-\\u001f${LATER_CONTROLS}]*$`);
const LINES = new RegExp(`^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f${LATER_CONTROLS}]*$`);
const wellFormed = (text: string) => text.isWellFormed();
const HALVES = 'must hold no halves of surrogate pairs';

/** Text of one line, of up to `max` UTF-16 units, that a database and a terminal take. */
export const line = (max: number, min = 1) =>
  z.string().min(min).max(max).regex(ONE_LINE, 'must hold no control characters').refine(wellFormed, HALVES);

/** Text of several lines, or none. */
export const lines = (max: number) =>
  z.string().max(max).regex(LINES, 'must hold no control characters but line ends and tabs').refine(wellFormed, HALVES);

/** A query parameter that holds an id: 1 to 64 printable characters. */
export function queryId(description: string) {
  return line(64).meta({ description });
}
