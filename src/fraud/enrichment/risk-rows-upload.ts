/**
 * Owns reading a file of risk rows, as CSV (RFC 4180: `merchantId,risk[,note]`, header or not) or as one JSON object a
 * line. Pure. Either every line is good, or the faults are told line by line. Neighbour: `risk-rows.ts`.
 */
import { CsvError, parse } from 'csv-parse/sync';
import { StreamError } from '../../stream/errors.js';
import { merchantIdFault, noteFault, type UploadedRow } from './risk-rows.js';

export const UPLOAD_FORMATS = ['text/csv', 'application/x-ndjson'] as const;
export type UploadFormat = (typeof UPLOAD_FORMATS)[number];

export const MOST_UPLOADED_ROWS = 50_000;
/** So many faults are told; the rest is counted. */
export const MOST_FAULTS_TOLD = 100;

export interface LineFault {
  /** From 1 on, the header counted. */
  readonly line: number;
  /** Null where the line as a whole is at fault. */
  readonly field: 'merchantId' | 'risk' | 'note' | null;
  readonly message: string;
}

/** Nothing of the upload was taken. */
export class UploadRefusedError extends StreamError {
  constructor(
    readonly faults: readonly LineFault[],
    readonly faultCount: number,
  ) {
    const [first] = faults;
    const where = first === undefined ? '' : `; the first is in line ${first.line}: ${first.message}`;
    super('upload-refused', `The upload has ${faultCount} ${faultCount === 1 ? 'fault' : 'faults'}${where}`);
  }
}

/** All rows, in order. Errors: {@link UploadRefusedError}. */
export function readUpload(format: UploadFormat, text: string): readonly UploadedRow[] {
  const rows = new UploadRows();
  const content = text.startsWith('\ufeff') ? text.slice(1) : text;
  if (format === 'text/csv') readCsv(content, rows);
  else readLines(content, rows);
  return rows.finish();
}

/** What has been read so far, good and bad. */
class UploadRows {
  private readonly rows: UploadedRow[] = [];
  private readonly faults: LineFault[] = [];
  private readonly lineOf = new Map<string, number>();
  private faultCount = 0;
  private rowCount = 0;

  /** False once there are more rows than are taken: reading on would be in vain. */
  takesMore(line: number): boolean {
    if (++this.rowCount <= MOST_UPLOADED_ROWS) return true;
    this.fault(line, null, `is row ${this.rowCount}; an upload may have ${MOST_UPLOADED_ROWS}: cut it into several`);
    return false;
  }

  fault(line: number, field: LineFault['field'], message: string): void {
    this.faultCount++;
    if (this.faults.length < MOST_FAULTS_TOLD) this.faults.push({ line, field, message });
  }

  add(line: number, merchantId: unknown, risk: unknown, note: unknown): void {
    const before = this.faultCount;
    if (typeof merchantId !== 'string') this.fault(line, 'merchantId', 'must be a text');
    else this.checkMerchant(line, merchantId);
    if (typeof risk !== 'number' || !(risk >= 0 && risk <= 1)) {
      this.fault(line, 'risk', 'must be a number from 0 to 1');
    }
    const wrongNote = note === null ? null : typeof note === 'string' ? noteFault(note) : 'must be a text';
    if (wrongNote !== null) this.fault(line, 'note', wrongNote);
    if (this.faultCount > before) return;
    this.rows.push({ merchantId: merchantId as string, risk: risk as number, note: note as string | null });
  }

  finish(): readonly UploadedRow[] {
    if (this.rowCount === 0 && this.faultCount === 0) this.fault(1, null, 'there are no rows');
    if (this.faultCount > 0) throw new UploadRefusedError(this.faults, this.faultCount);
    return this.rows;
  }

  private checkMerchant(line: number, merchantId: string): void {
    const wrong = merchantIdFault(merchantId);
    const earlier = this.lineOf.get(merchantId);
    if (wrong !== null) this.fault(line, 'merchantId', wrong);
    else if (earlier !== undefined) this.fault(line, 'merchantId', `has been given in line ${earlier} already`);
    else this.lineOf.set(merchantId, line);
  }
}

const HEADER = ['merchantid', 'risk', 'note'];
const COLUMNS = 'the columns are merchantId,risk[,note]';
const NUMBER = /^(?:\d{1,20}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?$/;
/** Ends the parsing of a file that has too many rows. */
const ENOUGH = new Error('enough');

function readCsv(text: string, rows: UploadRows): void {
  let line = 1;
  let isFirst = true;
  try {
    parse(text, {
      relax_column_count: true,
      skip_empty_lines: true,
      // A record's own rows alone are needed: nothing piles up inside the parser.
      on_record: (record: readonly string[], { lines }) => {
        line = lines;
        const names = isFirst && isHeader(record);
        isFirst = false;
        if (names) {
          const wrong = columnsFault(record);
          if (wrong === null) return null;
          // Under wrong names no row means what it says.
          rows.fault(line, null, wrong);
          throw ENOUGH;
        }
        if (!rows.takesMore(line)) throw ENOUGH;
        addRecord(rows, line, record);
        return null;
      },
    });
  } catch (error) {
    if (error === ENOUGH) return;
    if (!(error instanceof CsvError)) throw error;
    const at = typeof error.lines === 'number' ? error.lines : line;
    rows.fault(at, null, `${error.message}; the lines after it were not read`);
  }
}

const nameOf = (cell: string) => cell.trim().toLowerCase();

/** Names of columns, right or wrong: one of ours is there, and no number. */
function isHeader(record: readonly string[]): boolean {
  const ours = record.some((cell) => HEADER.slice(0, 2).includes(nameOf(cell)));
  return ours && !record.some((cell) => NUMBER.test(cell.trim()));
}

function columnsFault(record: readonly string[]): string | null {
  const unknown = record.find((cell) => !HEADER.includes(nameOf(cell)))?.trim();
  if (unknown !== undefined) {
    const shown = /^[\w .-]{1,64}$/.test(unknown) ? unknown : JSON.stringify(unknown.slice(0, 64));
    return `unknown column ${shown}; ${COLUMNS}`;
  }
  const isRight = record.length >= 2 && record.every((cell, index) => nameOf(cell) === HEADER[index]);
  return isRight ? null : `${COLUMNS}, in this order`;
}

function addRecord(rows: UploadRows, line: number, record: readonly string[]): void {
  if (record.length < 2 || record.length > 3) {
    rows.fault(line, null, `has ${record.length} columns; merchantId,risk or merchantId,risk,note are wanted`);
    return;
  }
  const [merchantId, risk, note = ''] = record;
  const digits = risk.trim();
  rows.add(line, merchantId, NUMBER.test(digits) ? Number(digits) : null, note === '' ? null : note);
}

function readLines(text: string, rows: UploadRows): void {
  let line = 0;
  for (const content of text.split('\n')) {
    line++;
    if (content.trim() === '') continue;
    if (!rows.takesMore(line)) return;
    let row: unknown;
    try {
      row = JSON.parse(content);
    } catch (error) {
      rows.fault(line, null, `is no JSON: ${error instanceof Error ? error.message.slice(0, 200) : String(error)}`);
      continue;
    }
    if (typeof row !== 'object' || row === null || Array.isArray(row)) {
      rows.fault(line, null, 'must be a JSON object');
      continue;
    }
    const { merchantId, risk, note = null, ...unknown } = row as Record<string, unknown>;
    const [stray] = Object.keys(unknown);
    if (stray !== undefined)
      rows.fault(line, null, `has a field that is not known: ${JSON.stringify(stray.slice(0, 64))}`);
    rows.add(line, merchantId, risk, note);
  }
}
