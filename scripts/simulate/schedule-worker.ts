/**
 * Owns one thread of the simulator: runs every so-many-th schedule and posts each result. With a mutant it patches that
 * one module while it is loaded, which must happen before anything of the core is.
 */
import { registerHooks } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { MUTANTS, mutate } from './mutants.js';

export interface WorkerTask {
  readonly seed: number;
  readonly first: number;
  readonly end: number;
  readonly step: number;
  readonly mutant: string | null;
  /** Events told of a failure. */
  readonly traced: number;
}

const task = workerData as WorkerTask;
const mutant = MUTANTS.find(({ name }) => name === task.mutant);

if (mutant !== undefined) {
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (!url.endsWith(`/src/stream/${mutant.module}.js`)) return loaded;
      return { ...loaded, source: mutate(Buffer.from(loaded.source as Uint8Array).toString('utf8'), mutant) };
    },
  });
}

const { runSchedule } = await import('../../src/stream/testing/simulation/schedule.js');
for (let schedule = task.first; schedule < task.end; schedule += task.step) {
  const result = await runSchedule(task.seed, schedule, task.traced);
  parentPort?.postMessage(result);
  // A broken core is told once; what follows of it says nothing more.
  if (mutant !== undefined && result.failure !== null) break;
}
