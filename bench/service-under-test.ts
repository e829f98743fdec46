/**
 * Owns a service process under measurement: starting it, following its progress, stopping it. Progress is what the
 * process itself says on standard output: lines of `name=number` with `payments` and `lag` among them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds, peakRssMiB, rssMiB } from './process-figures.js';

export interface Progress {
  readonly payments: number;
  readonly lag: number;
}

const STOP_TIMEOUT_MS = 15_000;

export class ServiceUnderTest {
  private latest: Progress = { payments: 0, lag: Number.POSITIVE_INFINITY };
  private readonly told = new Map<string, number>();
  private readonly lines: string[] = [];
  private ended: number | null = null;

  private constructor(private readonly child: ChildProcess) {
    let rest = '';
    const onData = (chunk: Buffer) => {
      const parts = (rest + chunk.toString()).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) this.onLine(line);
    };
    child.stdout?.on('data', onData);
    child.stderr?.on('data', onData);
    child.on('exit', (code) => {
      this.ended = code ?? -1;
    });
  }

  static start(script: string, args: readonly string[]): ServiceUnderTest {
    return new ServiceUnderTest(spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  private get pid(): number {
    return this.child.pid ?? 0;
  }

  /** User and system time so far, in seconds. */
  cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  rssMiB(): number {
    return rssMiB(this.pid);
  }

  peakRssMiB(): number {
    return peakRssMiB(this.pid);
  }

  /** The newest number told under this name; null before the first. */
  value(name: string): number | null {
    return this.told.get(name) ?? null;
  }

  get progress(): Progress {
    return this.latest;
  }

  /** Waits until `reached`; throws with the process's last lines if it ends first or `timeoutMs` passes. */
  async until(reached: (progress: Progress) => boolean, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!reached(this.latest)) {
      if (this.ended !== null) throw new Error(`the service ended with code ${this.ended}:\n${this.tail()}`);
      if (Date.now() > deadline) throw new Error(`no progress within ${timeoutMs} ms:\n${this.tail()}`);
      await sleep(5);
    }
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    const deadline = Date.now() + STOP_TIMEOUT_MS;
    while (this.ended === null && Date.now() < deadline) await sleep(20);
    if (this.ended === null) this.child.kill('SIGKILL');
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    while (this.ended === null) await sleep(5);
  }

  private tail(): string {
    return this.lines.slice(-15).join('\n');
  }

  private onLine(line: string): void {
    this.lines.push(line);
    if (this.lines.length > 200) this.lines.shift();
    for (const [, name, value] of line.matchAll(/(?:^| )([a-z0-9-]+)=([0-9.]+)(?= |$)/g)) {
      this.told.set(name, Number(value));
    }
    const [payments, lag] = [this.value('payments'), this.value('lag')];
    if (payments !== null && lag !== null) this.latest = { payments, lag };
  }
}
