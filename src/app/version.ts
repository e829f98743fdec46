/** Owns the version of this build: the package's. */
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';

function readVersion(): string {
  const file = findPackageJSON('.', import.meta.url);
  if (file === undefined) return 'unknown';
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

export const VERSION: string = readVersion();
