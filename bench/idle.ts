/** Owns `bench idle`: what a service with 32 tasks takes while nothing is paid. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, BenchPlace, BenchResult } from './bench.js';
import { makeJob } from './job-files.js';

const TASKS = 32;
const SETTLE_MS = 5_000;

export const idleBench: Bench = {
  name: 'idle',
  summary: `${TASKS} tasks on topics without payments: share of a core, memory`,
  run: measure,
};

async function measure(place: BenchPlace): Promise<BenchResult> {
  const name = place.options.job ?? 'pipeline';
  const seconds = place.options.seconds ?? 30;
  const bench = await place.kafkaBench(TASKS);
  const job = await makeJob(place, name, await place.jobParts(TASKS));
  const idle = await bench.withService(job, async (service) => {
    await service.until(({ lag }) => lag === 0, 60_000);
    await sleep(SETTLE_MS);
    const before = service.cpuSeconds();
    await sleep(seconds * 1_000);
    const cores = (service.cpuSeconds() - before) / seconds;
    return { percentOfACore: Math.round(cores * 10_000) / 100, rssMiB: service.peakRssMiB() };
  });
  return { figures: { job: name, tasks: TASKS, seconds, ...idle }, rows: [{ job: name, tasks: TASKS, ...idle }] };
}
