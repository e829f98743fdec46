/**
 * Owns releasing the schemas: copies them to `schemas/released/<version>`, from where they are never changed again.
 * Run: `npm run -s schemas:release [VERSION]`; the version of package.json where none is given.
 * Neighbour: `schema-compatibility.ts`, which must find nothing breaking.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkSchemas, describe, PROMISED, releasedVersions } from './schema-compatibility.ts';

/** Releases; returns what was said. Throws an error for people where it must not be. */
export function releaseSchemas(directory: string, version: string): string {
  const [major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)$/.exec(version)?.slice(1).map(Number) ?? [];
  if (patch === undefined) throw new Error(`${version} is no version; three numbers with dots between them are one`);
  const target = join(directory, 'released', version);
  if (existsSync(target))
    throw new Error(`${version} has been released; a release is never changed, take the next version`);
  const missing = PROMISED.filter((file) => !existsSync(join(directory, file)));
  if (missing.length > 0) throw new Error(`schemas/${missing[0]} is missing; run npm test -- -u, which makes it`);

  const last = releasedVersions(directory).at(-1);
  const result = checkSchemas(directory);
  if (last !== undefined) {
    const [lastMajor, lastMinor, lastPatch] = last.split('.').map(Number);
    const rise = major - lastMajor || minor - lastMinor || patch - lastPatch;
    if (rise <= 0) throw new Error(`${version} is not after ${last}`);
    const broken = result.changes.filter(({ kind }) => kind === 'breaking');
    if (broken.length > 0) throw new Error(describe(result).join('\n'));
    if (result.changes.length > 0 && major === lastMajor && minor === lastMinor) {
      throw new Error(`${describe(result).join('\n')}\n${version} is only a patch after ${last}`);
    }
  }
  mkdirSync(target, { recursive: true });
  for (const file of PROMISED) copyFileSync(join(directory, file), join(target, file));
  return `released schemas/released/${version}: ${PROMISED.join(', ')}`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = join(import.meta.dirname, '..', '..');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
  try {
    console.log(releaseSchemas(join(root, 'schemas'), process.argv[2] ?? version));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
