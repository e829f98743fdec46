/** Compiles the worker entry of the supervisor's tests: nothing transforms what a worker thread loads. */
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../../..');

export interface CompiledEntry {
  readonly entry: URL;
  remove(): Promise<void>;
}

/** Inside node_modules, so that packages resolve from there. */
export async function compileWorkerEntry(): Promise<CompiledEntry> {
  const directory = join(ROOT, 'node_modules/.cache', `worker-entry-${process.pid}-${Date.now()}`);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  const swc = join(ROOT, 'node_modules/@swc/cli/bin/swc.js');
  const parts = ['src/stream', 'test/stream/runtime/worker-entry.ts'];
  await promisify(execFile)(process.execPath, [swc, ...parts, '-d', directory, '-q'], { cwd: ROOT, timeout: 60_000 });
  return {
    entry: pathToFileURL(join(directory, 'test/stream/runtime/worker-entry.js')),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
