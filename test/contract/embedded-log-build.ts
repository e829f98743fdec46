/** Compiles the embedded log where threads and processes started by its tests can load it. */
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');

/** Returns the directory that holds the compiled `src`, and a way to remove it. */
export async function compileEmbeddedLog(): Promise<{ directory: string; remove(): Promise<void> }> {
  // Inside node_modules, so that the packages resolve from there.
  const directory = join(ROOT, 'node_modules/.cache', `embedded-log-${process.pid}-${Date.now()}`);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  const swc = join(ROOT, 'node_modules/@swc/cli/bin/swc.js');
  const parts = ['src/stream', 'src/adapters/embedded-log'];
  await promisify(execFile)(process.execPath, [swc, ...parts, '-d', directory, '-q'], {
    cwd: ROOT,
    timeout: 60_000,
  });
  return { directory, remove: () => rm(directory, { recursive: true, force: true }) };
}

/** The child program, to be run as a process or a worker thread. */
export const CHILD_PROGRAM = join(import.meta.dirname, 'embedded-log-child.mjs');
