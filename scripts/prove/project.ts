/**
 * Owns where things of the project lie, wherever this code runs from: compiled under dist/, or as a source in tests.
 * Neighbours: `broker.ts` and `service.ts` start what lies there.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder with package.json. */
export const projectRoot = rootAbove(dirname(fileURLToPath(import.meta.url)));

/** The built service, as `npm start` runs it. */
export const serviceEntry = join(projectRoot, 'dist', 'src', 'main.js');

/** The built command `fraud`. */
export const commandEntry = join(projectRoot, 'dist', 'src', 'cli', 'process.js');

/** Payments with labels, kept beside the checkout; not everybody has them. */
export const labelledPaymentsFile = join(projectRoot, '..', 'shared', 'data', 'payments-labelled.csv.gz');

function rootAbove(directory: string): string {
  if (existsSync(join(directory, 'package.json'))) return directory;
  const above = dirname(directory);
  if (above === directory) throw new Error('no package.json above this file: run it from a checkout');
  return rootAbove(above);
}
