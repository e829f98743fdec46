/**
 * Owns the question as whom the embedded Postgres runs. Postgres refuses root, so root hands it to another account;
 * nobody else can, or needs to.
 * Neighbours: `embedded-postgres.ts` asks, `embedded-server.ts` starts processes under the answer.
 */
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { StreamError } from '../../stream/errors.js';

export interface Account {
  /** False: as ourselves, and the ids say nothing. */
  readonly changes: boolean;
  readonly uid: number;
  readonly gid: number;
  /**
   * Command and arguments that run another one under this account with the right to pass closed directories, where the
   * data or the binaries lie below one (root's home, say). Empty where plain ids do.
   */
  readonly runner: readonly string[];
}

const OURSELVES: Account = { changes: false, uid: -1, gid: -1, runner: [] };
const PASSING = '+dac_override,+dac_read_search';

/**
 * The owner of an existing `cluster`; else the account postgres; else nobody. Makes no account.
 * Errors: `embedded-postgres-account` if root has none to hand over to that can reach `paths`.
 */
export async function chooseAccount(cluster: string, paths: readonly string[]): Promise<Account> {
  if (process.getuid?.() !== 0) return OURSELVES;
  const { uid, gid } =
    (await ownerOf(cluster)) ?? (await accountNamed('postgres')) ?? (await accountNamed('nobody')) ?? {};
  if (uid === undefined || gid === undefined) {
    throw new StreamError(
      'embedded-postgres-account',
      'Postgres refuses to run as root, and this system has neither an account postgres nor nobody to run it as. ' +
        'Start as another user, or set a database URL of your own.',
    );
  }
  for (const one of paths) {
    if (await canReach(uid, gid, one)) continue;
    const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => existsSync(file));
    if (setpriv === undefined) {
      throw new StreamError(
        'embedded-postgres-account',
        `Postgres refuses to run as root, and the account it would run as (uid ${uid}) may not enter ${one}. Start as ` +
          'another user, move the project out of the closed directory, or set a database URL of your own.',
      );
    }
    const ids = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
    return { changes: true, uid, gid, runner: [setpriv, ...ids, `--inh-caps=${PASSING}`, `--ambient-caps=${PASSING}`] };
  }
  return { changes: true, uid, gid, runner: [] };
}

async function ownerOf(cluster: string): Promise<{ uid: number; gid: number } | null> {
  try {
    const { uid, gid } = await stat(path.join(cluster, 'PG_VERSION'));
    return uid === 0 ? null : { uid, gid };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

async function accountNamed(name: string): Promise<{ uid: number; gid: number } | null> {
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined ? null : { uid: Number(uid), gid: Number(gid) };
}

/** Whether every directory above `target` lets the account pass. */
async function canReach(uid: number, gid: number, target: string): Promise<boolean> {
  for (let parent = path.dirname(target); ; parent = path.dirname(parent)) {
    const { mode, uid: owner, gid: group } = await stat(parent);
    const passable = owner === uid ? mode & 0o100 : group === gid ? mode & 0o010 : mode & 0o001;
    if (passable === 0) return false;
    if (parent === path.dirname(parent)) return true;
  }
}
