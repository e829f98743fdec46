/**
 * Owns a certificate for brokers on 127.0.0.1, made by Java's own keytool: a key store for the brokers, and the same
 * certificate as PEM for clients to trust. Good for tests alone: whoever reads the directory has the key.
 * Neighbour: `cluster.ts`. Erasable TypeScript without imports from src, so that Node runs it as it is.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { run } from './java.ts';

export interface Certificate {
  /** PKCS#12. */
  readonly keyStore: string;
  readonly keyStorePassword: string;
  /** PEM. */
  readonly caFile: string;
}

const PASSWORD = 'only-for-tests';
const KEYTOOL_MS = 30_000;

/** Makes it in `directory`, or finds the one made there before. */
export async function certificateIn(directory: string): Promise<Certificate> {
  const keyStore = join(resolve(directory), 'broker.p12');
  const caFile = join(resolve(directory), 'ca.pem');
  const store = ['-alias', 'broker', '-keystore', keyStore, '-storetype', 'PKCS12', '-storepass', PASSWORD];
  const names = ['-dname', 'CN=localhost', '-ext', 'san=ip:127.0.0.1,dns:localhost'];
  if (!existsSync(caFile)) {
    const key = ['-keyalg', 'EC', '-groupname', 'secp256r1', '-validity', '3650'];
    await keytool(['-genkeypair', ...store, ...names, ...key]);
    await keytool(['-exportcert', '-rfc', '-file', caFile, ...store]);
  }
  return { keyStore, keyStorePassword: PASSWORD, caFile };
}

async function keytool(args: readonly string[]): Promise<void> {
  await run('keytool', [...args], { timeout: KEYTOOL_MS });
}
