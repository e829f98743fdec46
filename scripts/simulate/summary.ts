/** Owns what a run of the simulator tells: counts over all its schedules, in a few lines. */
import type { ScheduleResult } from '../../src/stream/testing/simulation/schedule.js';

export class Summary {
  schedules = 0;
  readonly failed: ScheduleResult[] = [];
  private readonly counts = new Map<string, number>();
  private readonly faults = new Map<string, number>();
  private readonly startedAtMs = performance.now();

  add(result: ScheduleResult): void {
    this.schedules += 1;
    if (result.failure !== null) this.failed.push(result);
    const { events, simulatedMs, epochs, checkpoints, records, crashes, recoveries, fenced } = result;
    const { savepoints, rescales } = result;
    const numbers = {
      events,
      simulatedMs,
      epochs,
      checkpoints,
      records,
      crashes,
      recoveries,
      fenced,
      savepoints,
      rescales,
    };
    for (const [name, count] of Object.entries(numbers)) this.counts.set(name, (this.counts.get(name) ?? 0) + count);
    for (const [kind, count] of result.faults) this.faults.set(kind, (this.faults.get(kind) ?? 0) + count);
  }

  get perSecond(): number {
    return this.schedules / ((performance.now() - this.startedAtMs) / 1_000);
  }

  progress(of: number): string {
    const { schedules, failed } = this;
    return `${schedules} of ${of} schedules, ${failed.length} failed, ${this.perSecond.toFixed(1)}/s`;
  }

  lines(): string[] {
    const count = (name: string) => (this.counts.get(name) ?? 0).toLocaleString('en');
    const hours = (this.counts.get('simulatedMs') ?? 0) / 3_600_000;
    return [
      `schedules   ${this.schedules} (${this.schedules - this.failed.length} clean, ${this.failed.length} failed), ${this.perSecond.toFixed(1)}/s`,
      `simulated   ${hours.toFixed(1)} h, ${count('events')} events, ${count('records')} records`,
      `committed   ${count('epochs')} epochs, ${count('checkpoints')} checkpoints`,
      `survived    ${count('crashes')} crashes, ${count('recoveries')} recoveries, ${count('fenced')} tasks fenced`,
      `operated    ${count('savepoints')} savepoints compared, ${count('rescales')} rescales`,
      'faults',
      ...this.faultLines(),
    ];
  }

  /** Strikes at a moment of a step as a table, a line a step; the rest by kind. */
  private faultLines(): string[] {
    const aimed = new Map<string, string[]>();
    const others: string[] = [];
    for (const [kind, count] of [...this.faults].sort()) {
      const [fault, moment, step] = kind.split(' ');
      if (step === undefined) others.push(`${kind} ${count}`);
      else aimed.set(step, [...(aimed.get(step) ?? []), `${fault} ${moment} ${count}`]);
    }
    const steps = [...aimed]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([step, lines]) => `  at ${step}: ${lines.join(', ')}`);
    return [...folded(others), ...steps];
  }
}

function folded(words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = ' ';
  for (const word of words) {
    if (line.length + word.length > 110) {
      lines.push(line);
      line = ' ';
    }
    line += ` ${word},`;
  }
  return [...lines, line].map((one) => one.replace(/,$/, ''));
}
