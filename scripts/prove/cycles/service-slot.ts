/**
 * Owns a place for one process of the service: started, killed, paused and started again by nemeses, as often as they
 * like. A process that ends by itself is written down and started again after a second, as a supervisor of processes does.
 * Neighbours: `../service.ts` runs processes, `stage.ts` makes the slots, `../nemeses/nemesis.ts` says what they offer.
 */
import type { DiskControl, ServiceControl } from '../nemeses/nemesis.js';
import { type ServiceExit, type ServiceProcess, startService } from '../service.js';

export interface SlotOptions {
  readonly name: string;
  readonly flags: readonly string[];
  readonly dataDirectory: string;
  readonly logFile: string;
  readonly disk: DiskControl | null;
}

/** A process that ended without having been told to. */
export interface OwnEnd {
  readonly service: string;
  readonly code: number | null;
  readonly signal: string | null;
  /** The last line it said. */
  readonly lastLine: string;
}

/** How a process ended that was asked to by SIGTERM. */
export interface Stop {
  readonly service: string;
  readonly exit: ServiceExit & { readonly tookMs: number };
  /** Since its start. */
  readonly ageMs: number;
}

const START_AGAIN_MS = 1_000;

export class ServiceSlot implements ServiceControl {
  readonly name: string;
  readonly dataDirectory: string;
  readonly logFile: string;
  readonly disk: DiskControl | null;
  readonly ownEnds: OwnEnd[] = [];
  readonly stops: Stop[] = [];
  starts = 0;
  startedAtMs = 0;
  /** Of the newest `kill`, or end of its own; monotonic ms. */
  diedAtMs = 0;
  private process: ServiceProcess | null = null;
  private again: NodeJS.Timeout | null = null;

  constructor(private readonly options: SlotOptions) {
    this.name = options.name;
    this.dataDirectory = options.dataDirectory;
    this.logFile = options.logFile;
    this.disk = options.disk;
  }

  get pid(): number | null {
    return this.process?.pid ?? null;
  }

  start(): void {
    this.dontStartAgain();
    if (this.process !== null) return;
    const started = startService(this.options.flags, this.logFile);
    this.process = started;
    this.starts += 1;
    this.startedAtMs = started.startedAtMs;
    void started.exit.then((exit) => {
      // Else somebody took it out of the slot to end it.
      if (this.process === started) this.endedByItself(started, exit);
    });
  }

  async kill(): Promise<void> {
    const killed = this.take();
    if (killed === null) return;
    await killed.kill();
    this.diedAtMs = performance.now();
  }

  async stop(): Promise<void> {
    const stopped = this.take();
    if (stopped === null) return;
    const ageMs = performance.now() - stopped.startedAtMs;
    this.stops.push({ service: this.name, exit: await stopped.stop(), ageMs });
    this.diedAtMs = performance.now();
  }

  pause(): void {
    if (this.process !== null) process.kill(this.process.pid, 'SIGSTOP');
  }

  resume(): void {
    if (this.process !== null) process.kill(this.process.pid, 'SIGCONT');
  }

  private take(): ServiceProcess | null {
    this.dontStartAgain();
    const taken = this.process;
    this.process = null;
    return taken;
  }

  private dontStartAgain(): void {
    if (this.again !== null) clearTimeout(this.again);
    this.again = null;
  }

  private endedByItself(ended: ServiceProcess, { code, signal }: ServiceExit): void {
    this.process = null;
    this.diedAtMs = performance.now();
    const lastLine = ended.said().trim().split('\n').at(-1)?.slice(0, 300) ?? '';
    this.ownEnds.push({ service: this.name, code, signal, lastLine });
    this.again = setTimeout(() => this.start(), START_AGAIN_MS);
  }
}
