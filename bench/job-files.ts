/** Owns where the reference job's payments and model come from: the peers' own scripts, so that all run the same. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchPlace } from './bench.js';
import { type JobParts, pipelineJob, referenceJob } from './jobs.js';
import type { Job } from './log-bench.js';
import { type Workload, workload } from './workload.js';

const peersScript = (name: string) => join(process.cwd(), '..', 'shared', 'peers', name);

/** The job under measurement. Errors: no model could be made for the reference job. */
export async function makeJob(place: BenchPlace, name: 'pipeline' | 'reference', parts?: JobParts): Promise<Job> {
  const jobParts = parts ?? (await place.jobParts());
  if (name === 'pipeline') return pipelineJob(jobParts, await place.riskUrl());
  return referenceJob(jobParts, referenceModel(place), place.options.threshold);
}

/** What the job is fed: `--file`, or what belongs to it. */
export function workloadOf(place: BenchPlace, name: 'pipeline' | 'reference'): Workload {
  const { file } = place.options;
  if (name === 'pipeline') return workload(file, 1);
  return workload(file ?? referencePayments(place), 20);
}

/** Made by the peers' script; null where it is not there. */
export function referencePayments(place: BenchPlace): string | null {
  const file = join(place.directory, 'payments-100k.tsv');
  if (existsSync(file)) return file;
  try {
    execFileSync('python3', [peersScript('gen.py'), '20', file], { stdio: 'ignore' });
    return file;
  } catch (error) {
    place.say(`the reference job's payments could not be made (${String(error).split('\n')[0]}); taking others`);
    return null;
  }
}

/** Made by the peers' script, which needs Python with numpy and onnx. */
export function referenceModel(place: BenchPlace): string {
  if (place.options.model !== null) return place.options.model;
  const file = join(place.directory, 'model.onnx');
  if (existsSync(file)) return file;
  for (const python of ['/usr/bin/python3', 'python3']) {
    try {
      execFileSync(python, [peersScript('model.py')], { cwd: place.directory, stdio: 'ignore' });
    } catch (error) {
      // Its last lines print quantiles and need onnxruntime; the model is written before them.
      place.say(`${python} model.py: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
    if (existsSync(file)) return file;
  }
  throw new Error('no reference model: give one with --model FILE');
}
