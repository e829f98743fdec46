/** The terminal over the life of a process, and the figures it takes from looks at the pipeline. */
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { StatusFeed } from '../../../src/app/terminal/feed.js';
import { Meter } from '../../../src/app/terminal/meter.js';
import { coloursWanted, openTerminal, type TerminalKind, terminalKind } from '../../../src/app/terminal/terminal.js';
import type { PipelineStatus, TaskStatus } from '../../../src/stream/runtime/status.js';
import { HandClock } from '../hand-clock.js';

class FakeTerminal extends Writable {
  text = '';
  isTTY = true;
  columns = 90;
  rows = 30;
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.text += chunk.toString();
    done();
  }
}

function task(changes: Partial<TaskStatus> = {}): TaskStatus {
  return {
    taskId: 'fraud-detection-0',
    partition: 0,
    worker: 0,
    state: 'running',
    error: null,
    committedOffset: 0,
    endOffset: 0,
    epoch: 1,
    watermarkMs: 0,
    records: 0,
    deadLetters: 0,
    alerts: 0,
    late: 0,
    recoveries: 0,
    epochLatencyMs: { p50: 0, p99: 0, max: 0 },
    checkpoint: { id: null, completedAt: null, durationMs: null, sizeBytes: null, failures: 0 },
    hotKeys: 0,
    dirtyKeys: 0,
    pendingTimers: 0,
    counters: {},
    ...changes,
  };
}

function feedOf(tasks: () => readonly TaskStatus[]): StatusFeed {
  const status = (): PipelineStatus => ({
    name: 'fraud-detection',
    version: '1',
    backend: 'embedded',
    startedAt: 1_000_000,
    generation: 1,
    seededFrom: null,
    sourcePartitions: 1,
    tasks: tasks(),
    standbys: [],
    workers: [],
  });
  return { status, recentAlerts: () => [], projector: () => null };
}

function open(kind: TerminalKind) {
  const stream = new FakeTerminal();
  const clock = new HandClock();
  const terminal = openTerminal({
    stream: stream as unknown as NodeJS.WriteStream,
    kind,
    colours: false,
    clock,
    lineIntervalMs: 5_000,
    refreshMs: 250,
    rssBytes: () => 100 * 1_048_576,
    alertLines: 5,
  });
  return { stream, clock, terminal };
}

describe('figures', () => {
  it('keep their totals when a worker begins to count anew, and when a task leaves', () => {
    let tasks = [task({ records: 100, alerts: 3 })];
    const meter = new Meter(feedOf(() => tasks));
    expect(meter.look(1_000_000, 0, 0)).toMatchObject({ payments: 100, alerts: 3 });
    tasks = [task({ records: 10, alerts: 1 })];
    expect(meter.look(1_000_000, 1_000, 0)).toMatchObject({ payments: 110, alerts: 4 });
    tasks = [];
    expect(meter.look(1_000_000, 2_000, 0)).toMatchObject({ payments: 110, alerts: 4 });
  });

  it('tell the rate of the last seconds, not the mean since the start', () => {
    let records = 0;
    const meter = new Meter(feedOf(() => [task({ records })]));
    for (let second = 0; second < 10; second++) {
      meter.look(1_000_000, second * 1_000, 0);
      records += 1_000;
    }
    for (let second = 10; second < 20; second++) {
      meter.look(1_000_000, second * 1_000, 0);
      records += 10;
    }
    const figures = meter.look(1_000_000, 20_000, 0);
    expect(figures.paymentsPerSecond).toBeCloseTo(10, 5);
    expect(figures.rateHistory[3]).toBeCloseTo(1_000, 5);
  });

  it('count lag over all tasks, and the age of the oldest newest checkpoint', () => {
    const done = (completedAt: number) => ({ ...task().checkpoint, completedAt });
    const tasks = [
      task({ taskId: 'a', committedOffset: 5, endOffset: 9, checkpoint: done(999_000) }),
      task({ taskId: 'b', committedOffset: 9, endOffset: 9, checkpoint: done(990_000) }),
    ];
    const figures = new Meter(feedOf(() => tasks)).look(1_000_000, 0, 0);
    expect(figures).toMatchObject({ lag: 4, checkpointAgeMs: 10_000 });
  });
});

describe('lines', () => {
  it('tell the start, the status every five seconds, and the end', () => {
    const { stream, clock, terminal } = open('lines');
    const postgres = terminal.progress('embedded Postgres');
    clock.advance(1_400);
    postgres.done();
    let records = 0;
    terminal.run(
      feedOf(() => [task({ records })]),
      { api: 'http://h:1', docs: 'http://h:1/docs' },
    );
    records = 1_000;
    clock.advance(10_000);
    terminal.stopping('SIGINT');
    clock.advance(800);
    terminal.stopped(null);
    const lines = stream.text.trimEnd().split('\n');
    expect(lines.slice(0, 2)).toEqual(['embedded Postgres: ready (1.4 s)', 'API http://h:1  docs http://h:1/docs']);
    expect(lines.filter((line) => line.includes(' status payments/s=200 '))).toHaveLength(1);
    expect(lines.filter((line) => line.includes(' status '))).toHaveLength(2);
    expect(lines.slice(-2)).toEqual(['stopping: SIGINT', 'stopped in 0.8 s, nothing pending']);
    expect(clock.waiting).toBe(0);
  });

  it('are not written when the terminal is off', () => {
    const { stream, clock, terminal } = open('off');
    terminal.run(
      feedOf(() => []),
      { api: 'x', docs: null },
    );
    clock.advance(60_000);
    expect(stream.text).toBe('');
  });
});

describe('the live screen', () => {
  it('replaces steps under way by what became of them, then shows the figures', () => {
    const { stream, clock, terminal } = open('live');
    const recovery = terminal.progress('recovering task 0');
    recovery.update('45 % of the state log');
    clock.advance(300);
    expect(stream.text).toContain('recovering task 0 45 % of the state log');
    recovery.done();
    expect(stream.text).toContain('✓ recovering task 0  ready  0.3 s');
    terminal.run(
      feedOf(() => [task({ records: 12 })]),
      { api: 'http://h:1', docs: null },
    );
    expect(stream.text).toContain('payments    ');
    terminal.stopping('SIGTERM');
    const length = stream.text.length;
    clock.advance(5_000);
    expect(stream.text.length).toBe(length);
    terminal.stopped('12 alerts not yet in Postgres');
    expect(stream.text).toContain('stopped in 5.0 s, 12 alerts not yet in Postgres');
    expect(clock.waiting).toBe(0);
  });

  it('goes quiet when its reader has gone, and lets the process live', () => {
    const { stream, clock, terminal } = open('live');
    terminal.run(
      feedOf(() => []),
      { api: null, docs: null },
    );
    stream.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    const { length } = stream.text;
    clock.advance(1_000);
    terminal.note('anything');
    terminal.stopping('SIGINT');
    terminal.stopped(null);
    expect(stream.text.length).toBe(length);
  });
});

describe('what suits the output', () => {
  it('is a screen on a terminal and lines elsewhere, unless said otherwise', () => {
    expect(terminalKind('auto', { isTTY: true }, 'xterm')).toBe('live');
    expect(terminalKind('auto', { isTTY: true }, 'dumb')).toBe('lines');
    expect(terminalKind('auto', {})).toBe('lines');
    expect(terminalKind('off', { isTTY: true })).toBe('off');
  });

  it('has colours on a terminal, unless NO_COLOR says otherwise', () => {
    expect(coloursWanted({}, { isTTY: true })).toBe(true);
    expect(coloursWanted({ NO_COLOR: '1' }, { isTTY: true })).toBe(false);
    expect(coloursWanted({}, { isTTY: false })).toBe(false);
    expect(coloursWanted({ FORCE_COLOR: '1' }, {})).toBe(true);
  });
});
