/** What the memory budget is spent on. */
import { describe, expect, it } from 'vitest';
import { type Configuration, loadConfiguration } from '../../../src/app/configuration/index.js';
import { memoryParts, workerHeapMiB } from '../../../src/app/task-options.js';

const configured = (...argv: string[]): Configuration =>
  loadConfiguration({ argv, env: {}, cwd: '/', readFile: () => undefined });

const MIB = 1_048_576;
const sumMiB = (configuration: Configuration, tasks: number, workers: number) =>
  memoryParts(configuration, tasks, workers).reduce((sum, { bytes }) => sum + bytes, 0) / MIB;

describe('the memory budget', () => {
  it('holds all parts of two tasks in two threads as configured by default', () => {
    expect(sumMiB(configured(), 2, 2)).toBeLessThanOrEqual(configured().memory.budgetMiB);
  });

  it('is shared by the heaps of worker threads as far as other parts leave it', () => {
    const [some, more] = [configured('--memory-budget-mib=1536'), configured('--memory-budget-mib=1736')];
    expect(workerHeapMiB(more, 2, 2) - workerHeapMiB(some, 2, 2)).toBe(100);
    expect(sumMiB(more, 2, 2)).toBeCloseTo(1_736, -1);
    const fewer = configured('--memory-budget-mib=1536', '--memory-hot-keys=65536');
    expect(workerHeapMiB(fewer, 2, 2)).toBeGreaterThan(workerHeapMiB(some, 2, 2));
  });

  it('never leaves a heap less than its tasks need when all their timers are pending', () => {
    const little = configured('--memory-budget-mib=128');
    expect(workerHeapMiB(little, 1, 1)).toBe(392);
    expect(workerHeapMiB(little, 6, 2)).toBe(792);
  });

  it('gives a heap no more than it can make use of', () => {
    expect(workerHeapMiB(configured('--memory-budget-mib=65536'), 2, 2)).toBe(1_024);
  });
});
