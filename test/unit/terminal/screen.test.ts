/** What people see on the terminal. The snapshots were looked at: change them only after looking again. */

import { stripVTControlCharacters } from 'node:util';
import picocolors from 'picocolors';
import { describe, expect, it } from 'vitest';
import type { Figures } from '../../../src/app/terminal/meter.js';
import { renderScreen, type ScreenModel } from '../../../src/app/terminal/screen.js';
import { alertLine, statusLine } from '../../../src/app/terminal/status-line.js';
import type { Alert } from '../../../src/fraud/alerts/alert.js';

const plain = picocolors.createColors(false);
const colourful = picocolors.createColors(true);

function alert(number: number, changes: Partial<Alert> = {}): Alert {
  return {
    alertId: String(number).padStart(32, '0'),
    cardId: `tok_Zk3vA9q0${number}Xw`,
    paymentId: `p-${number}`,
    merchantId: 'mer_0042',
    amountMinor: 45_000,
    currency: 'EUR',
    occurredAt: 1_000,
    detectedAt: Date.UTC(2026, 10, 22, 12, 4, number),
    decision: 'decline',
    severity: 'high',
    score: 0.934,
    rules: [
      {
        id: 'card-testing',
        name: 'Card testing',
        version: 1,
        hash: '0011223344556677',
        decision: 'decline',
        severity: 'high',
        reason: '6 payments of at most 2.10 EUR in 3 min, then 450.00 EUR',
      },
    ],
    evidence: {
      source: { topic: 'payments.raw', partition: 0, offset: 1, timestamp: 1 },
      payment: null,
      late: false,
      enrichment: null,
      features: {},
      patterns: [],
      model: null,
      ruleSet: { version: 1, hash: '00' },
      pipelineVersion: '1',
    },
    ...changes,
  };
}

function figures(changes: Partial<Figures> = {}): Figures {
  return {
    name: 'fraud-detection',
    version: '0.1.0',
    backend: 'embedded',
    uptimeMs: 130_000,
    paymentsPerSecond: 203.4,
    rateHistory: [0, 40, 120, 180, 200, 203, 199, 204, 202],
    payments: 26_402,
    alerts: 57,
    deadLetters: 13,
    late: 4,
    lag: 12,
    epochLatencyMs: { p50: 24.2, p99: 61.8 },
    checkpointAgeMs: 12_300,
    rssBytes: 312 * 1_048_576,
    tasks: [
      { partition: 0, state: 'running', error: null },
      { partition: 1, state: 'running', error: null },
    ],
    sourcePartitions: 2,
    projector: { lag: 3, trouble: null },
    recentAlerts: [
      alert(3),
      alert(2, { decision: 'review', score: 0.71, amountMinor: 1_210, merchantId: 'mer_0007' }),
      alert(1, {
        paymentId: null,
        merchantId: null,
        amountMinor: null,
        currency: null,
        score: null,
        decision: 'review',
      }),
    ],
    ...changes,
  };
}

function model(changes: Partial<Figures> = {}, rest: Partial<ScreenModel> = {}): ScreenModel {
  return {
    figures: figures(changes),
    apiAddress: 'http://127.0.0.1:3000',
    docsAddress: 'http://127.0.0.1:3000/docs',
    notice: null,
    timeOfDay: (ms) => new Date(ms).toISOString().slice(11, 19),
    ...rest,
  };
}

describe('the live screen', () => {
  it('shows figures and the newest alerts with their reasons', () => {
    expect(renderScreen(model(), 100, 30, plain)).toMatchInlineSnapshot(`
      " fraud-detection 0.1.0  embedded log  up 2 min 10 s
       API http://127.0.0.1:3000   docs http://127.0.0.1:3000/docs

       payments/s  203  ▁▂▅▇█████       payments         26,402          lag         12
       alerts      57                   dead letters     13              late        4
       epoch p50   24 ms                epoch p99        62 ms           checkpoint  12 s ago
       memory      312 MiB              not in Postgres  3
       tasks  2 running

       Newest alerts
       12:04:03 DECLINE   450.00 EUR  card …9q03Xw  at mer_0042  score 0.93
                6 payments of at most 2.10 EUR in 3 min, then 450.00 EUR
       12:04:02 REVIEW     12.10 EUR  card …9q02Xw  at mer_0007  score 0.71
                6 payments of at most 2.10 EUR in 3 min, then 450.00 EUR
       12:04:01 REVIEW                card …9q01Xw
                6 payments of at most 2.10 EUR in 3 min, then 450.00 EUR

       Ctrl-C stops and keeps everything"
    `);
  });

  it('folds to a narrow terminal', () => {
    expect(renderScreen(model(), 48, 24, plain)).toMatchInlineSnapshot(`
      " fraud-detection 0.1.0  embedded log  up 2 min …
       API http://127.0.0.1:3000
       docs http://127.0.0.1:3000/docs

       payments/s       203  ▁▂▅▇█████
       payments         26,402
       lag              12
       alerts           57
       dead letters     13
       late             4
       epoch p50        24 ms
       epoch p99        62 ms
       checkpoint       12 s ago
       memory           312 MiB
       not in Postgres  3
       tasks  2 running

       Newest alerts
       12:04:03 DECLINE   450.00 EUR  card …9q03Xw  a…
                6 payments of at most 2.10 EUR in 3 m…
       12:04:02 REVIEW     12.10 EUR  card …9q02Xw  a…
                6 payments of at most 2.10 EUR in 3 m…

       Ctrl-C stops and keeps everything"
    `);
  });

  it('keeps to one line an alert on a short terminal', () => {
    expect(renderScreen(model(), 80, 14, plain)).toMatchInlineSnapshot(`
      " fraud-detection 0.1.0  embedded log  up 2 min 10 s
       API http://127.0.0.1:3000   docs http://127.0.0.1:3000/docs

       payments/s  203  ▂▅▇█████ payments         26,402   lag         12
       alerts      57            dead letters     13       late        4
       epoch p50   24 ms         epoch p99        62 ms    checkpoint  12 s ago
       memory      312 MiB       not in Postgres  3
       tasks  2 running

       Newest alerts
       12:04:03 DECLINE   450.00 EUR  card …9q03Xw  at mer_0042  score 0.93
       12:04:02 REVIEW     12.10 EUR  card …9q02Xw  at mer_0007  score 0.71

       Ctrl-C stops and keeps everything"
    `);
  });

  it('shows recovery, a failed task and a projector in trouble', () => {
    const troubled = model(
      {
        tasks: [
          { partition: 0, state: 'recovering', error: null },
          { partition: 1, state: 'failed', error: 'the state log begins at offset 900, asked for 20' },
        ],
        projector: { lag: 1_204, trouble: 'Postgres does not answer' },
        lag: 250_000,
        epochLatencyMs: null,
        checkpointAgeMs: null,
        recentAlerts: [],
      },
      { notice: 'recovering task 0  45 % of the state log' },
    );
    expect(renderScreen(troubled, 80, 24, plain)).toMatchInlineSnapshot(`
      " fraud-detection 0.1.0  embedded log  up 2 min 10 s
       API http://127.0.0.1:3000   docs http://127.0.0.1:3000/docs

       payments/s  203  ▂▅▇█████ payments         26,402   lag         250,000
       alerts      57            dead letters     13       late        4
       epoch p50   –             epoch p99        –        checkpoint  none yet
       memory      312 MiB       not in Postgres  1,204
       tasks  recovering 0, failed 1
       task 1: the state log begins at offset 900, asked for 20
       projector: Postgres does not answer

       No alerts yet

       recovering task 0  45 % of the state log"
    `);
  });

  it('never writes a line wider or a screen higher than the terminal, with and without colours', () => {
    for (let width = 20; width <= 160; width += 7) {
      for (let height = 4; height <= 50; height += 3) {
        for (const palette of [plain, colourful]) {
          const lines = renderScreen(model(), width, height, palette).split('\n').map(stripVTControlCharacters);
          expect(lines.length).toBeLessThanOrEqual(height);
          for (const line of lines) expect(line.length, `${width}x${height}: ${line}`).toBeLessThanOrEqual(width);
        }
      }
    }
  });

  it('uses no colour where none is wanted, and the same text where it is', () => {
    const esc = String.fromCharCode(27);
    expect(renderScreen(model(), 90, 30, plain)).not.toContain(esc);
    const coloured = renderScreen(model(), 90, 30, colourful);
    expect(coloured).toContain(`${esc}[31mDECLINE`);
    expect(stripVTControlCharacters(coloured)).toBe(renderScreen(model(), 90, 30, plain));
  });

  it('lets no payment steer the terminal', () => {
    const hostile = `\u001b[2Jmer\nchant\u202e漢${'👾'}`;
    const screen = renderScreen(
      model({ recentAlerts: [alert(1, { merchantId: hostile, cardId: hostile })] }),
      100,
      30,
      plain,
    );
    expect(screen).toContain('at ·[2Jmer·chant···');
    expect(screen).not.toContain('\u001b');
  });
});

describe('lines for output that is no terminal', () => {
  it('writes the status as pairs that read well', () => {
    expect(statusLine(figures())).toMatchInlineSnapshot(
      `"status payments/s=203 payments=26402 alerts=57 dead-letters=13 late=4 lag=12 epoch-p50-ms=24 epoch-p99-ms=62 checkpoint-age-s=12 rss-mib=312 tasks=2/2 projector-lag=3"`,
    );
    expect(statusLine(figures({ epochLatencyMs: null, checkpointAgeMs: null, projector: null }))).toContain(
      'checkpoint-age-s=none',
    );
  });

  it('writes an alert on one line, whatever is in it', () => {
    expect(alertLine(alert(1))).toMatchInlineSnapshot(
      `"alert decision=decline amount="450.00 EUR" card=…9q01Xw merchant="mer_0042" score=0.93 reason="6 payments of at most 2.10 EUR in 3 min, then 450.00 EUR""`,
    );
    expect(alertLine(alert(1, { merchantId: 'a"b\nc' }))).toContain('merchant="a\\"b·c"');
  });
});
