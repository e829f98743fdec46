/** The commands of `fraud`, run against a log in memory. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Surroundings } from '../../../src/cli/command.js';
import { maskedText } from '../../../src/cli/dead-letter-reading.js';
import { runCommandLine } from '../../../src/cli/main.js';
import { DEAD_LETTER_HEADERS } from '../../../src/stream/pipeline/dead-letters.js';
import type { LogBackend } from '../../../src/stream/ports.js';
import type { OutputRecord, RecordHeader } from '../../../src/stream/records.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { type MemoryLog, makeMemoryLog } from '../../../src/stream/testing/memory-log.js';

const HEADER = 'tx_id,epoch_s,customer_id,terminal_id,amount,is_fraud,scenario';
const line = (number: number) => `${number},${1_530_000_000 + number},${number % 7},${number % 5},12.5,0,0`;
const labelled = (count: number) => [HEADER, ...Array.from({ length: count }, (_, index) => line(index))].join('\n');

let directory: string;
let log: MemoryLog;
let aborting: AbortController;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'fraud-cli-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
beforeEach(() => {
  log = makeMemoryLog();
  aborting = new AbortController();
});

function file(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

async function fraud(words: readonly string[], changes: Partial<Surroundings> = {}) {
  const printed: string[] = [];
  const told: string[] = [];
  const code = await runCommandLine(
    words,
    {
      env: {},
      cwd: directory,
      clock: systemClock,
      signal: aborting.signal,
      print: (text) => printed.push(text),
      tell: (text) => told.push(text),
      screen: null,
      columns: 100,
      readFile: () => undefined,
      openBackend: async () => log.open(),
      ...changes,
    },
    '1.2.3',
  );
  return { code, printed: printed.join('\n'), told: told.join('\n') };
}

const fed = () => log.records('payments.raw').map((record) => JSON.parse(String(record.value)));

describe('fraud', () => {
  it('tells its commands, the flags of each, and its version', async () => {
    expect((await fraud([])).printed).toContain('dead-letters');
    expect((await fraud(['help', 'feed'])).printed).toContain('--start-time now|original');
    expect((await fraud(['feed', '--help'])).printed).toContain('fraud feed payments.csv.gz --rate 2000');
    expect(await fraud(['--version'])).toMatchObject({ code: 0, printed: '1.2.3' });
  });

  it('says what was meant where it can, with exit code 2', async () => {
    expect(await fraud(['fed'])).toMatchObject({ code: 2, told: expect.stringContaining('Did you mean feed?') });
    const wrong = await fraud(['feed', 'x.csv', '--rte', '5', '--kafak=x:1']);
    expect(wrong.code).toBe(2);
    expect(wrong.told).toContain('Did you mean --rate?');
    expect(wrong.told).toContain('Did you mean --kafka?');
    expect((await fraud(['feed'])).told).toContain('Which file?');
    expect(await fraud(['topics', '--port', 'x'])).toMatchObject({ code: 2 });
  });
});

describe('fraud topics', () => {
  it('makes the topics with the partitions asked for, once', async () => {
    expect((await fraud(['topics', '--partitions', '3'])).told).toContain('made topics payments.raw');
    const again = await fraud(['topics', '--partitions', '5']);
    expect(again.told).toBe('');
    expect(again.printed).toContain('fraud.state: 3 × partition, 0 offsets kept');
  });
});

describe('fraud feed', () => {
  it('puts every payment of a file into the topic, keyed by card, in order', async () => {
    const path = file('all.csv.gz', gzipSync(labelled(4_500)));
    const result = await fraud(['feed', path]);
    expect(result.code).toBe(0);
    expect(result.printed).toContain('fed 4500 payments');
    const records = log.records('payments.raw');
    expect(records).toHaveLength(4_500);
    for (const record of records.slice(0, 20)) expect(JSON.parse(String(record.value)).cardId).toBe(String(record.key));
    expect(fed()[0].occurredAt).toBeLessThan(Date.UTC(2019, 0));
  });

  it('feeds a part: after --skip, up to --limit, moved to now', async () => {
    const path = file('part.csv', labelled(100));
    const before = Date.now();
    expect((await fraud(['feed', path, '--skip', '40', '--limit', '10', '--start-time', 'now'])).code).toBe(0);
    const times = fed()
      .map((payment) => payment.occurredAt)
      .sort((a, b) => a - b);
    expect(times).toHaveLength(10);
    expect(times[0]).toBeGreaterThanOrEqual(before);
    expect(times[9] - times[0]).toBe(9_000);
  });

  it('keeps to a rate', async () => {
    const path = file('rate.csv', labelled(100));
    const startedAt = performance.now();
    await fraud(['feed', path, '--rate', '200', '--limit', '60']);
    const seconds = (performance.now() - startedAt) / 1_000;
    expect(seconds).toBeGreaterThan(0.28);
    expect(seconds).toBeLessThan(2);
  });

  it('says on Ctrl-C how far it got, so that --skip goes on without a gap', async () => {
    const path = file('stop.csv', labelled(1_000));
    setTimeout(() => aborting.abort(), 150);
    const stopped = await fraud(['feed', path, '--rate', '500']);
    expect(stopped.code).toBe(130);
    const skip = /go on with --skip (\d+)/.exec(stopped.told)?.[1] ?? 'none';
    expect(log.records('payments.raw')).toHaveLength(Number(skip));
    aborting = new AbortController();
    expect((await fraud(['feed', path, '--skip', skip])).code).toBe(0);
    expect(new Set(fed().map((payment) => payment.paymentId)).size).toBe(1_000);
    expect(fed()).toHaveLength(1_000);
  });

  it('stops at a line that holds no payment, or leaves it out, and names it', async () => {
    const path = file('bad.csv', `${labelled(3)}\nnonsense\n${line(9)}\n`);
    const stopped = await fraud(['feed', path]);
    expect(stopped.code).toBe(1);
    expect(stopped.told).toContain('line 5');
    expect(stopped.told).toContain('go on with --skip 3');
    log = makeMemoryLog();
    expect((await fraud(['feed', path, '--skip-malformed'])).printed).toContain('1 lines held no payment');
    expect(fed()).toHaveLength(4);
  });

  it('says how far it got when the log fails', async () => {
    const path = file('fail.csv', labelled(5_000));
    let writes = 0;
    const failing = (backend: LogBackend): LogBackend => ({
      ...bound(backend),
      openWriter: async () => {
        const writer = await backend.openWriter();
        return {
          write: (records) => (++writes > 1 ? Promise.reject(new Error('disk full')) : writer.write(records)),
          close: () => writer.close(),
        };
      },
    });
    const failed = await fraud(['feed', path], { openBackend: async () => failing(log.open()) });
    expect(failed.code).toBe(1);
    expect(failed.told).toContain('go on with --skip 2000');
    expect(failed.told).toContain('disk full');
  });

  it('makes no topic of a misspelt name', async () => {
    const path = file('topic.csv', labelled(1));
    const refused = await fraud(['feed', path, '--topic', 'paymnts.raw']);
    expect(refused).toMatchObject({ code: 2, told: expect.stringContaining('no topic paymnts.raw') });
  });
});

/** A backend's methods as plain properties, so that a test can replace some. */
const bound = (backend: LogBackend): LogBackend => ({
  kind: backend.kind,
  openReader: (options) => backend.openReader(options),
  openEpochLog: (options) => backend.openEpochLog(options),
  openWriter: () => backend.openWriter(),
  openAdmin: () => backend.openAdmin(),
  openAssignment: (options) => backend.openAssignment(options),
  close: () => backend.close(),
});

describe('fraud dead-letters', () => {
  const secretive = Buffer.from('{"cardNumber":"4111 1111 1111 1111","amountMinor":"x"}');

  async function refuse(letters: readonly { code: string; value: Buffer | null; partition?: number }[]) {
    await fraud(['topics']);
    const backend = log.open();
    const writer = await backend.openWriter();
    const records = letters.map(({ code, value, partition = 1 }, index): OutputRecord => {
      const headers: RecordHeader[] = [
        [DEAD_LETTER_HEADERS.code, Buffer.from(code)],
        [DEAD_LETTER_HEADERS.message, Buffer.from('amountMinor is "x"\u001b[2J')],
        [DEAD_LETTER_HEADERS.topic, Buffer.from('payments.raw')],
        [DEAD_LETTER_HEADERS.partition, Buffer.from(String(partition))],
        [DEAD_LETTER_HEADERS.offset, Buffer.from(String(100 + index))],
        [DEAD_LETTER_HEADERS.timestamp, Buffer.from('1530000000000')],
        [DEAD_LETTER_HEADERS.pipeline, Buffer.from('1')],
      ];
      return {
        topic: 'payments.dead-letters',
        partition: 0,
        key: Buffer.from('k'),
        value,
        headers,
        timestampMs: 1_000 + index,
      };
    });
    await writer.write(records);
    await writer.close();
    await backend.close();
    return records;
  }

  it('lists them with reason and source, all or of one reason', async () => {
    await refuse([
      { code: 'bad-json', value: Buffer.from('{') },
      { code: 'wrong-type', value: secretive },
    ]);
    const all = await fraud(['dead-letters', 'list']);
    expect(all.printed).toContain('from payments.raw/1/100');
    expect(all.printed).toContain('2 dead letters (bad-json 1, wrong-type 1), 2 shown');
    expect(all.printed).not.toContain('\u001b');
    const one = await fraud(['dead-letters', 'list', '--code', 'wrong-type']);
    expect(one.printed).toContain('1 dead letter (wrong-type 1), 1 shown');
    expect((await fraud(['dead-letters', 'list', '--limit', '1'])).printed).toContain('2 dead letters');
  });

  it('shows one with the card number masked', async () => {
    await refuse([{ code: 'wrong-type', value: secretive }]);
    const shown = await fraud(['dead-letters', 'show', '0/0']);
    expect(shown.code).toBe(0);
    expect(shown.printed).toContain('"cardNumber":"************1111"');
    expect(shown.printed).not.toContain('4111');
    expect((await fraud(['dead-letters', 'show', '0/7'])).told).toContain('no dead letter at 0/7');
    expect((await fraud(['dead-letters', 'show', 'x'])).told).toContain('PARTITION/OFFSET');
  });

  it('puts them back byte for byte where they came from', async () => {
    const value = Buffer.from([0xff, 0x00, 0x7b]);
    await refuse([
      { code: 'not-utf8', value },
      { code: 'null-value', value: null, partition: 0 },
      { code: 'bad-json', value: Buffer.from('{') },
    ]);
    const tried = await fraud(['dead-letters', 'replay', '--all', '--dry-run']);
    expect(tried.printed).toContain('3 dead letters would be put back');
    expect(log.records('payments.raw')).toHaveLength(0);
    expect((await fraud(['dead-letters', 'replay', '0/0', '0/1'])).printed).toContain('2 dead letters put back');
    const back = log.records('payments.raw');
    expect(back.map(({ partition, key, value: bytes }) => [partition, String(key), bytes])).toEqual([
      [0, 'k', null],
      [1, 'k', value],
    ]);
    expect((await fraud(['dead-letters', 'replay', '--all', '--code', 'bad-json'])).printed).toContain(
      '1 dead letter put back',
    );
    expect((await fraud(['dead-letters', 'replay'])).code).toBe(2);
  });

  it('masks digits in every form that people are shown', () => {
    expect(maskedText(Buffer.from('pan=4111-1111-1111-1111!'))).toBe('pan=************1111!');
    expect(maskedText(Buffer.from('1530000000 12'))).not.toContain('1530000000');
    expect(maskedText(Buffer.from([0xff, 0x34, 0x31]))).toBe('not UTF-8, 3 bytes: ff 3* 3*');
    expect(maskedText(Buffer.from('a\u001b[2J'))).toBe('a\\u001b[2J');
    expect(maskedText(null)).toBe('null');
    const long = Buffer.concat([Buffer.alloc(4_095, 'a'), Buffer.from('ä and more')]);
    expect(maskedText(long)).toContain(`… (${long.length} bytes)`);
  });
});

describe('fraud rescale', () => {
  it('refuses a number of partitions that is none before it opens or locks anything', async () => {
    const openBackend = () => Promise.reject(new Error('opened'));
    for (const [given, said] of [
      ['0', '--partitions must be a whole number, 1 or more; it is 0'],
      ['two', '--partitions must be a whole number, 1 or more; it is two'],
    ] as const) {
      const { code, told } = await fraud(['rescale', '--partitions', given], { openBackend });
      expect(code).not.toBe(0);
      expect(told).toContain(said);
    }
  });
});
