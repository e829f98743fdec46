import { describe, expect, it } from 'vitest';
import { CSV_HEADER, csvCell, csvRow } from '../../../src/api/analyst/alert-csv.js';
import type { AlertHead } from '../../../src/fraud/cases/stored-alert.js';
import { anAlert } from '../../integration/projector-fixtures.js';

/** Reads RFC 4180 back, by its grammar. */
function parse(csv: string): string[][] {
  const rows: string[][] = [];
  const row: string[] = [];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y;
  while (cell.lastIndex < csv.length) {
    const found = cell.exec(csv);
    if (found === null) throw new Error('no CSV');
    row.push(found[1]?.replaceAll('""', '"') ?? found[2]);
    if (found[3] === '\r\n') rows.push(row.splice(0));
  }
  return rows;
}

const head = (changes: Partial<AlertHead> = {}): AlertHead => {
  const { evidence: _, ...rest } = anAlert(1);
  const work = { state: 'open', revision: 1, assignee: null, disposition: null, reasonCode: null } as const;
  return { ...rest, ...work, storedAt: 0, ...changes };
};

describe('a cell', () => {
  it.each(['=1+1', '+1', '-1', '@SUM(A1)', '\tx', '\rx', '\n=x', '＝1', '＋1', '－1', '＠x'])(
    'that begins like %j is text for a spreadsheet',
    (text) => {
      expect(parse(`${csvCell(text)}\r\n`)).toEqual([[`'${text}`]]);
    },
  );

  it.each(['plain', 'a=b', 'x,y', 'say "hi"', 'two\r\nlines', "it's", 'é🦊', ''])(
    'with %j comes back as it was',
    (text) => {
      expect(parse(`${csvCell(text)}\r\n`)).toEqual([[text]]);
    },
  );

  it('with a number is a number, with nothing empty', () => {
    expect([csvCell(0.5), csvCell(12), csvCell(null)]).toEqual(['0.5', '12', '']);
  });
});

describe('a row', () => {
  it('has as many cells as there are names, whatever is missing or hostile', () => {
    const [names] = parse(CSV_HEADER);
    const hostile = head({ merchantId: '=cmd|"/c calc"!A0', assignee: '@evil,"\r\n' });
    const timer = head({ merchantId: null, paymentId: null, amountMinor: null, currency: null, score: null });
    for (const alert of [head(), hostile, timer]) expect(parse(csvRow(alert))[0]).toHaveLength(names.length);
    const row = Object.fromEntries(names.map((name, i) => [name, parse(csvRow(hostile))[0][i]]));
    expect(row).toMatchObject({ merchantId: `'=cmd|"/c calc"!A0`, assignee: `'@evil,"\r\n`, score: '0.61' });
  });
});
