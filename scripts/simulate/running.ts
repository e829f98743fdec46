/**
 * Owns the threads of a run: starts them, hands on what they post, ends those that hang. Neighbours:
 * `schedule-worker.ts` is a thread's code, `main.ts` decides what to run.
 */
import { Worker } from 'node:worker_threads';
import type { ScheduleResult } from '../../src/stream/testing/simulation/schedule.js';
import type { WorkerTask } from './schedule-worker.js';

/** Longer than the longest schedule on a machine that is busy with other things. */
const HANGS_AFTER_MS = 120_000;

export interface Running {
  /** Resolves when the thread has run all of it; with 'hung' if it had to be ended. Rejects if it failed. */
  readonly ended: Promise<'ran' | 'hung'>;
  stop(): void;
}

export function startThread(task: WorkerTask, onResult: (result: ScheduleResult) => void): Running {
  const worker = new Worker(new URL('./schedule-worker.js', import.meta.url), { workerData: task });
  let hung = false;
  const isHung = () => {
    hung = true;
    void worker.terminate();
  };
  let limit = setTimeout(isHung, HANGS_AFTER_MS);
  worker.on('message', (result: ScheduleResult) => {
    clearTimeout(limit);
    limit = setTimeout(isHung, HANGS_AFTER_MS);
    onResult(result);
  });
  const ended = new Promise<'ran' | 'hung'>((resolve, reject) => {
    worker.on('error', (error) => {
      clearTimeout(limit);
      reject(error);
    });
    worker.on('exit', () => {
      clearTimeout(limit);
      resolve(hung ? 'hung' : 'ran');
    });
  });
  return { ended, stop: () => void worker.terminate() };
}
