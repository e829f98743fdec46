/**
 * Owns directories for work that nobody needs after it: task images and stores on their way into a checkpoint. They lie
 * on the disk of the data directory, where there is room for state, and what a killed process left is removed by the next.
 */
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'work-';
/** Processes of other containers cannot be seen from here: theirs count as dead only after this. */
const LEFT_OVER_AFTER_MS = 3_600_000;

/** Gives a new directory to `use`, and removes it afterwards. */
export async function inWorkDirectory<T>(dataDir: string, use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await makeWorkDirectory(dataDir);
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** `state` is the data directory's own folder for stores; where there is none yet, the system's temporary one will do. */
async function makeWorkDirectory(dataDir: string): Promise<string> {
  const state = join(dataDir, 'state');
  const names = await namesIn(state);
  if (names === null) return mkdtemp(join(tmpdir(), 'fraud-work-'));
  for (const name of names) await removeLeftOver(state, name);
  const directory = join(state, `${PREFIX}${process.pid}-${Date.now().toString(36)}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return directory;
}

async function namesIn(directory: string): Promise<readonly string[] | null> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

async function removeLeftOver(state: string, name: string): Promise<void> {
  const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
  if (!Number.isSafeInteger(pid) || isAlive(pid)) return;
  const directory = join(state, name);
  const changedAtMs = await stat(directory).then(
    ({ mtimeMs }) => mtimeMs,
    () => Date.now(), // somebody else removed it
  );
  if (Date.now() - changedAtMs < LEFT_OVER_AFTER_MS) return;
  await rm(directory, { recursive: true, force: true, maxRetries: 3 });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Not ours to signal, and so alive.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
