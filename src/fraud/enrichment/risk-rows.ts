/**
 * Owns the risk table as people keep it: one row a merchant, with who changed it last. Neighbours: the API asks through
 * the port {@link RiskRows}; `risk-table.ts` is the table as detectors read it, from the topic that every change is
 * published to; `risk-rows-upload.ts` reads whole files of rows.
 */
import { StreamError } from '../../stream/errors.js';
import { MAX_KEY_BYTES } from '../../stream/state/key-index.js';
import type { Precondition } from '../audit/precondition.js';
import type { WriteRequest } from '../audit/write-request.js';

/** As many as each task of a detector holds: what went beyond would be published and then left out. */
export const MOST_RISK_ROWS = 200_000;
/** In UTF-16 units. */
export const LONGEST_NOTE = 200;

/** What people give. */
export interface RiskValues {
  /** 0 to 1. */
  readonly risk: number;
  readonly note: string | null;
}

export interface RiskRow extends RiskValues {
  readonly merchantId: string;
  /** Rises with every change; never given twice, not even after the row was removed. */
  readonly revision: number;
  /** ms since 1970: the `asOf` that alerts show as evidence. */
  readonly updatedAt: number;
  readonly updatedBy: { readonly id: string; readonly name: string };
}

export interface UploadedRow extends RiskValues {
  readonly merchantId: string;
}

/** Rows that are to be set together, and what the audit trail shall remember of where they came from. */
export interface RiskUpload {
  readonly rows: readonly UploadedRow[];
  readonly format: string;
  /** Of the content as it came, hex. */
  readonly sha256: string;
}

export interface UploadOutcome {
  readonly created: number;
  readonly updated: number;
}

export interface RiskRowPage {
  readonly items: readonly RiskRow[];
  /** The last merchant of the page where there are more, else null. */
  readonly next: string | null;
}

/**
 * Errors of all: code `database-unavailable`. Of changes: `precondition-failed` where the row is not as the caller has
 * seen it, {@link RiskTableFullError}, and those of `write-request.ts`.
 */
export interface RiskRows {
  /** Rows whose merchant's id begins with `prefix`, by their bytes' order, after the merchant `after`. */
  list(prefix: string, limit: number, after: string | null): Promise<RiskRowPage>;
  get(merchantId: string): Promise<RiskRow | null>;
  /** `expected` 'absent': the row must be new. */
  set(
    request: WriteRequest,
    merchantId: string,
    values: RiskValues,
    expected: Precondition | 'absent',
  ): Promise<{ readonly row: RiskRow; readonly isNew: boolean }>;
  /** Errors: {@link RiskRowNotFoundError}. */
  remove(request: WriteRequest, merchantId: string, expected: Precondition): Promise<void>;
  /** Sets all rows or none, whatever they were before. */
  upload(request: WriteRequest, upload: RiskUpload): Promise<UploadOutcome>;
  /** What `upload` would do now, without doing it. */
  preview(rows: readonly UploadedRow[]): Promise<UploadOutcome>;
}

export class RiskRowNotFoundError extends StreamError {
  constructor(merchantId: string) {
    super('risk-row-not-found', `The risk table has no row for the merchant '${merchantId.slice(0, 64)}'.`);
  }
}

export class RiskTableFullError extends StreamError {
  constructor(rows: number) {
    super(
      'risk-table-full',
      `The risk table would have ${rows} rows, and detectors hold ${MOST_RISK_ROWS}. Remove merchants that need no row.`,
    );
  }
}

const UNCLEAN = /[\p{Cc}\p{Cs}]/u;

/** Why a text can't be a merchant's id, or null. The same limits as a payment's `merchantId`. */
export function merchantIdFault(text: string): string | null {
  if (text === '') return 'is empty';
  if (text.length > MAX_KEY_BYTES || Buffer.byteLength(text) > MAX_KEY_BYTES) {
    return `is longer than ${MAX_KEY_BYTES} bytes`;
  }
  return UNCLEAN.test(text) ? 'holds a control character or half a surrogate pair' : null;
}

/** Why a text can't be a note, or null. */
export function noteFault(text: string): string | null {
  if (text.length > LONGEST_NOTE) return `is longer than ${LONGEST_NOTE} characters`;
  return UNCLEAN.test(text) ? 'holds a control character or half a surrogate pair' : null;
}
