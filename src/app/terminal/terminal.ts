/**
 * Owns what people see of a process from its first line to its last: the steps of the start, then the live screen or a
 * line every few seconds, then how it stopped. Neighbours: `screen.ts` and `status-line.ts` make the text, `src/main.ts`
 * tells what happens. Life: progress and notes → `run` → `stopping` → `stopped`; progress lines may come at any time.
 *
 * T3 Nothing here holds up the process: a reader that went away (EPIPE) ends the output, not the work.
 */
import { createRequire } from 'node:module';
import type { createLogUpdate } from 'log-update';
import picocolors from 'picocolors';
import type { Clock } from '../../stream/ports.js';
import type { StatusFeed } from './feed.js';
import { Meter } from './meter.js';
import { type Palette, renderScreen } from './screen.js';
import { alertLine, statusLine } from './status-line.js';
import { cleanText, clip, writeSpan } from './text.js';

export type TerminalKind = 'live' | 'lines' | 'off';

/** The part of `process.stdout` that is needed. */
export type TerminalStream = NodeJS.WriteStream;

export interface TerminalOptions {
  readonly stream: TerminalStream;
  readonly kind: TerminalKind;
  readonly colours: boolean;
  readonly clock: Clock;
  readonly lineIntervalMs: number;
  readonly refreshMs: number;
  readonly rssBytes: () => number;
  /** In `lines`: newest alerts are written as well, at most this many between two status lines. */
  readonly alertLines: number;
}

/** A step of the start (or of recovery) under way. */
export interface ProgressStep {
  /** Replaces what is shown behind the step's name: `45 % of the state log`. */
  update(detail: string): void;
  done(detail?: string): void;
  failed(reason: string): void;
}

export interface Terminal {
  readonly kind: TerminalKind;
  progress(name: string): ProgressStep;
  /** A line of its own that stays. */
  note(text: string): void;
  /** Begins to show the status. */
  run(feed: StatusFeed, addresses: { readonly api: string | null; readonly docs: string | null }): void;
  /** Says that the process is stopping, and why; ends the status. */
  stopping(reason: string): void;
  /** The last line. `pending` tells what was left undone; null for nothing. */
  stopped(pending: string | null): void;
}

/** What suits the stream, by the setting `terminal.show`. */
export function terminalKind(
  show: 'auto' | TerminalKind,
  stream: { readonly isTTY?: boolean },
  term?: string,
): TerminalKind {
  if (show !== 'auto') return show;
  return stream.isTTY === true && term !== 'dumb' ? 'live' : 'lines';
}

/** Colours by the conventions NO_COLOR (no-color.org) and FORCE_COLOR, else where the stream is a terminal. */
export function coloursWanted(
  env: Readonly<Record<string, string | undefined>>,
  stream: { readonly isTTY?: boolean },
): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0';
  return stream.isTTY === true && env.TERM !== 'dumb';
}

/** Opens the terminal of this process. */
export function openTerminal(options: TerminalOptions): Terminal {
  return options.kind === 'live' ? new LiveTerminal(options) : new LineTerminal(options);
}

const timeOfDay = (ms: number): string => {
  const date = new Date(ms);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
};

/** Calls `tick` again and again until taken back. */
function every(clock: Clock, intervalMs: number, tick: () => void): () => void {
  let cancel = clock.schedule(intervalMs, function again() {
    cancel = clock.schedule(intervalMs, again);
    tick();
  });
  return () => cancel();
}

/** What both kinds share: a stream that may break, the palette, the time of stopping. */
abstract class BaseTerminal {
  protected readonly palette: Palette;
  protected broken = false;
  protected stopTicks: (() => void) | null = null;
  #stoppingAtMs: number | null = null;

  constructor(protected readonly options: TerminalOptions) {
    this.palette = picocolors.createColors(options.colours);
    options.stream.on('error', () => {
      this.broken = true; // T3
      this.stopTicks?.();
    });
  }

  get kind(): TerminalKind {
    return this.options.kind;
  }

  protected write(line: string): void {
    if (!this.broken && this.options.kind !== 'off') this.options.stream.write(`${line}\n`);
  }

  protected beginStopping(): void {
    this.#stoppingAtMs ??= this.options.clock.monotonic();
    this.stopTicks?.();
    this.stopTicks = null;
  }

  protected farewell(pending: string | null): string {
    const tookMs = this.options.clock.monotonic() - (this.#stoppingAtMs ?? this.options.clock.monotonic());
    return `stopped in ${(tookMs / 1_000).toFixed(1)} s, ${pending ?? 'nothing pending'}`;
  }
}

class LineTerminal extends BaseTerminal implements Terminal {
  #lastAlertId: string | null = null;

  progress(name: string): ProgressStep {
    const startedAt = this.options.clock.monotonic();
    const took = () => writeSpan(this.options.clock.monotonic() - startedAt);
    return {
      update: () => undefined,
      done: (detail = 'ready') => this.write(`${name}: ${detail} (${took()})`),
      failed: (reason) => this.write(`${name}: failed after ${took()}: ${reason}`),
    };
  }

  note(text: string): void {
    this.write(text);
  }

  run(feed: StatusFeed, addresses: { readonly api: string | null; readonly docs: string | null }): void {
    if (addresses.api !== null) this.write(`API ${addresses.api}  docs ${addresses.docs ?? '–'}`);
    if (this.options.kind === 'off') return;
    const { clock, rssBytes, lineIntervalMs } = this.options;
    const meter = new Meter(feed);
    meter.look(clock.now(), clock.monotonic(), rssBytes());
    this.stopTicks = every(clock, lineIntervalMs, () => {
      const figures = meter.look(clock.now(), clock.monotonic(), rssBytes());
      this.#writeAlerts(feed);
      this.write(`${new Date(clock.now()).toISOString()} ${statusLine(figures)}`);
    });
  }

  #writeAlerts(feed: StatusFeed): void {
    const alerts = feed.recentAlerts();
    const seen = alerts.findIndex((alert) => alert.alertId === this.#lastAlertId);
    const fresh = (seen === -1 ? alerts : alerts.slice(0, seen)).slice(0, this.options.alertLines);
    this.#lastAlertId = alerts[0]?.alertId ?? this.#lastAlertId;
    for (const alert of [...fresh].reverse()) {
      this.write(`${new Date(alert.detectedAt).toISOString()} ${alertLine(alert)}`);
    }
  }

  stopping(reason: string): void {
    this.beginStopping();
    this.write(`stopping: ${reason}`);
  }

  stopped(pending: string | null): void {
    this.beginStopping();
    this.write(this.farewell(pending));
  }
}

class LiveTerminal extends BaseTerminal implements Terminal {
  readonly #draw: ReturnType<typeof createLogUpdate>;
  /** Steps under way, in the order of their beginning: name and detail. */
  readonly #steps = new Map<symbol, { name: string; detail: string; startedAt: number }>();
  #screen: (() => string) | null = null;
  #redraw: (() => void) | null = null;

  constructor(options: TerminalOptions) {
    super(options);
    // Loaded where it is used: 40 ms that a start without a screen need not wait for.
    const logUpdate = createRequire(import.meta.url)('log-update') as typeof import('log-update');
    this.#draw = logUpdate.createLogUpdate(options.stream);
    this.stopTicks = every(options.clock, options.refreshMs, () => this.#refresh());
  }

  progress(name: string): ProgressStep {
    const id = Symbol(name);
    const step = { name, detail: '…', startedAt: this.options.clock.monotonic() };
    this.#steps.set(id, step);
    this.#refresh();
    const end = (mark: string, detail: string) => {
      if (!this.#steps.delete(id)) return;
      const took = writeSpan(this.options.clock.monotonic() - step.startedAt);
      this.note(` ${mark} ${name}  ${detail}  ${this.palette.dim(took)}`);
    };
    return {
      update: (detail) => {
        step.detail = detail;
      },
      done: (detail = 'ready') => end(this.palette.green('✓'), detail),
      failed: (reason) => end(this.palette.red('✗'), reason),
    };
  }

  note(text: string): void {
    if (this.broken) return;
    this.#draw.clear();
    this.write(text);
    this.#refresh();
  }

  run(feed: StatusFeed, addresses: { readonly api: string | null; readonly docs: string | null }): void {
    const { clock, rssBytes, stream } = this.options;
    const meter = new Meter(feed);
    this.#screen = () => {
      const figures = meter.look(clock.now(), clock.monotonic(), rssBytes());
      const steps = [...this.#steps.values()].map(({ name, detail }) => cleanText(`${name} ${detail}`));
      const model = {
        figures,
        apiAddress: addresses.api,
        docsAddress: addresses.docs,
        notice: steps.length === 0 ? null : steps.join('   '),
        timeOfDay,
      };
      // The cursor needs the last row.
      return renderScreen(model, stream.columns || 80, (stream.rows || 24) - 1, this.palette);
    };
    // A narrower window has broken the old lines already: start on a clean one.
    this.#redraw = () => {
      stream.write('\u001b[2J\u001b[H');
      this.#draw.done();
      this.#refresh();
    };
    stream.on('resize', this.#redraw);
    this.#refresh();
  }

  stopping(reason: string): void {
    this.#refresh();
    this.beginStopping();
    if (this.#redraw !== null) this.options.stream.off('resize', this.#redraw);
    this.#draw.done();
    this.#screen = null;
    this.write(` stopping: ${reason} …`);
  }

  stopped(pending: string | null): void {
    this.beginStopping();
    this.#draw.clear();
    this.#draw.done();
    this.write(` ${this.farewell(pending)}`);
  }

  #refresh(): void {
    if (this.broken || this.stopTicks === null) return;
    if (this.#screen !== null) {
      this.#draw(this.#screen());
      return;
    }
    if (this.#steps.size === 0) return;
    const width = (this.options.stream.columns || 80) - 1;
    const lines = [...this.#steps.values()].map(({ name, detail }) => clip(cleanText(`   ${name} ${detail}`), width));
    this.#draw(lines.join('\n'));
  }
}
