/** Owns secrets made at the first start: kept in the data directory, readable by the owner alone. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Configuration } from './configuration/index.js';

const FILE = 'secrets/card-token';

/** The configuration with a card-token secret: the configured one, else the one in the data directory, else a new one there. */
export async function withCardTokenSecret(configuration: Configuration): Promise<Configuration> {
  if (configuration.cardToken.secret !== undefined) return configuration;
  const file = join(configuration.dataDir, FILE);
  let secret: string;
  try {
    secret = (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    secret = randomBytes(32).toString('hex');
    await writeFile(file, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  }
  return { ...configuration, cardToken: { ...configuration.cardToken, secret } };
}
