/** Owns where this build comes from: the package's root, its version, and the model that ships with it. */
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';

const packageFile = findPackageJSON('.', import.meta.url) ?? join(process.cwd(), 'package.json');

export const VERSION: string = (JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }).version;

export const SHIPPED_MODEL: string = join(dirname(packageFile), 'models', 'card-risk', '1');
