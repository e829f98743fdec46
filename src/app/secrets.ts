/** Owns secrets made at the first start: kept in the data directory, readable by the owner alone. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Configuration } from './configuration/index.js';
import { keptOrMade } from './kept-file.js';

const FILE = 'secrets/card-token';
const TOKEN_KEY_FILE = 'secrets/token-key.pem';
const DEMO_FILE = 'secrets/demo-users';

/** The configuration with a card-token secret: the configured one, else the one in the data directory, else a new one there. */
export async function withCardTokenSecret(configuration: Configuration): Promise<Configuration> {
  if (configuration.cardToken.secret !== undefined) return configuration;
  const { text } = await keptOrMade(join(configuration.dataDir, FILE), () => randomBytes(32).toString('hex'));
  return { ...configuration, cardToken: { ...configuration.cardToken, secret: text } };
}

/** The key with which tokens are signed here (P-256, PKCS #8 as PEM). Lost, everybody signs in anew. */
export async function tokenKey(dataDir: string): Promise<string> {
  const make = () =>
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return (await keptOrMade(join(dataDir, TOKEN_KEY_FILE), make)).text;
}

export interface DemoPasswords {
  readonly file: string;
  /** By username. */
  readonly passwords: ReadonlyMap<string, string>;
  /** False where an earlier start made them. */
  readonly made: boolean;
}

/** Passwords of the demo's users, one `name password` a line. Made before the users: a start cut short makes no others. */
export async function demoPasswords(dataDir: string, usernames: readonly string[]): Promise<DemoPasswords> {
  const file = join(dataDir, DEMO_FILE);
  const make = () => usernames.map((name) => `${name} ${randomBytes(12).toString('base64url')}`).join('\n');
  const { text, made } = await keptOrMade(file, make);
  const lines = text.split('\n').map((line) => line.split(' '));
  return { file, passwords: new Map(lines.map(([name, password = '']) => [name, password])), made };
}
