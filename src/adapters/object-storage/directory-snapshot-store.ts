/**
 * Owns snapshots kept in a directory: a second disk, a mounted share, or a place beside the data for one machine.
 * Neighbours: `snapshot-manifest.ts` says what a snapshot consists of, `durable-files.ts` makes writes last.
 *
 *   <directory>/<task>/contents/<sha256>                      a file's content, named by itself
 *   <directory>/<task>/snapshots/<number>-<id>.manifest       written last; <number> grows with each
 *
 * Invariants:
 *   S1 Contents are named by their SHA-256, so one file is never taken for another, whatever the two are called; RocksDB
 *      uses its file names again after a store was wiped.
 *   S2 A source file is read only if it is new: same name, size, inode and time of change (ns) as in an earlier snapshot
 *      means the same file, and its content is not sent again if it is still kept, at its size.
 *   S3 A manifest is written when all its contents are flushed; a crash before leaves contents that nothing needs, and
 *      the next `delete` removes them.
 *   S4 One owner a task at a time (its epoch log fences); within this object, calls for a task run one after another.
 */
import { mkdir, readdir, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { CorruptDataError, StreamError } from '../../stream/errors.js';
import type { SnapshotStore } from '../../stream/ports.js';
import { type CopiedFile, copyHashed, removeFile, syncDirectory, writeDurably } from './durable-files.js';
import { decodeManifest, encodeManifest, type SnapshotFile, type SnapshotManifest } from './snapshot-manifest.js';

const MANIFEST_NAME = /^(\d{12})-(.*)\.manifest$/;
const RESTORE_LANES = 4;

interface KeptSnapshot {
  readonly number: number;
  readonly id: string;
  readonly file: string;
}

/**
 * Errors: {@link CorruptDataError} from `restore`; codes `snapshot-exists`, `snapshot-directory-not-empty`,
 * `snapshot-name-too-long` and `snapshot-store-failed` (the disk said no; the cause tells).
 */
export function directorySnapshotStore(options: { readonly directory: string }): SnapshotStore {
  return new DirectorySnapshotStore(path.resolve(options.directory));
}

class DirectorySnapshotStore implements SnapshotStore {
  /** The last call of each task under way; never rejects. (S4) */
  private readonly turns = new Map<string, Promise<void>>();

  constructor(private readonly root: string) {}

  put(task: string, id: string, directory: string): Promise<{ readonly sizeBytes: number; readonly newBytes: number }> {
    return this.inTurn(task, `keep snapshot ${id} of ${task}`, async () => {
      const kept = await this.snapshots(task);
      if (kept.some((snapshot) => snapshot.id === id)) {
        throw new StreamError('snapshot-exists', `Snapshot ${id} of ${task} is kept already. Give a new id.`);
      }
      await mkdir(this.contents(task), { recursive: true });
      await mkdir(this.manifests(task), { recursive: true });
      const known = await this.knownOrigins(kept);
      const files: SnapshotFile[] = [];
      let sizeBytes = 0;
      let newBytes = 0;
      for (const name of await plainFiles(directory)) {
        const sent = await this.send(task, path.join(directory, name), name, known);
        files.push(sent.file);
        sizeBytes += sent.file.sizeBytes;
        newBytes += sent.newBytes;
      }
      await syncDirectory(this.contents(task));
      const number = Math.max(0, ...kept.map((snapshot) => snapshot.number)) + 1;
      const target = path.join(this.manifests(task), manifestName(number, id));
      await writeDurably(target, encodeManifest({ format: 1, task, id, files })); // S3
      return { sizeBytes, newBytes };
    });
  }

  restore(task: string, id: string, directory: string): Promise<void> {
    return this.inTurn(task, `restore snapshot ${id} of ${task} into ${directory}`, async () => {
      const found = (await this.snapshots(task)).find((snapshot) => snapshot.id === id);
      if (found === undefined) {
        throw new CorruptDataError(`Snapshot ${id} of ${task} is not kept in ${this.root}. Restore another one.`);
      }
      const manifest = decodeManifest(await readFile(found.file, 'utf8'), found.file);
      await mkdir(directory, { recursive: true });
      if ((await readdir(directory)).length > 0) {
        throw new StreamError(
          'snapshot-directory-not-empty',
          `Cannot restore snapshot ${id} of ${task} into ${directory}: it is not empty. Give a new directory.`,
        );
      }
      await this.bringAll(task, manifest, directory);
      await syncDirectory(directory);
    });
  }

  async list(task: string): Promise<readonly string[]> {
    return (await this.snapshots(task)).map((snapshot) => snapshot.id);
  }

  delete(task: string, id: string): Promise<void> {
    return this.inTurn(task, `delete snapshot ${id} of ${task}`, async () => {
      const kept = await this.snapshots(task);
      for (const snapshot of kept.filter((s) => s.id === id)) await removeFile(snapshot.file);
      for (const name of await readdirOrNone(this.manifests(task))) {
        if (name.endsWith('.tmp')) await removeFile(path.join(this.manifests(task), name));
      }
      const others = kept.filter((snapshot) => snapshot.id !== id);
      const needed = new Set<string>();
      for (const { file } of others) {
        // A manifest that cannot be read stops the clearing, not the deletion: what it needs is not known.
        const manifest = await readManifest(file);
        if (manifest === null) return;
        for (const { sha256 } of manifest.files) needed.add(sha256);
      }
      for (const name of await readdirOrNone(this.contents(task))) {
        if (!needed.has(name)) await removeFile(path.join(this.contents(task), name));
      }
    });
  }

  /** Makes sure that the content is kept. Reads the file unless it is known (S2). */
  private async send(
    task: string,
    from: string,
    name: string,
    known: ReadonlyMap<string, SnapshotFile>,
  ): Promise<{ readonly file: SnapshotFile; readonly newBytes: number }> {
    const origin = await originOf(from);
    const same = known.get(originKey(name, origin));
    if (same !== undefined && (await this.isKept(task, same))) return { file: same, newBytes: 0 };
    const temporary = path.join(this.contents(task), `sending-${process.pid}.tmp`);
    await removeFile(temporary);
    const copied: CopiedFile = await copyHashed(from, temporary);
    const file: SnapshotFile = { name, ...copied, origin };
    const newBytes = (await this.isKept(task, file)) ? 0 : file.sizeBytes;
    // In any case: what is kept under this name may have gone bad, and this copy is good.
    await rename(temporary, path.join(this.contents(task), file.sha256));
    return { file, newBytes };
  }

  /** Copies and verifies every file; removes what it brought if one is bad. */
  private async bringAll(task: string, manifest: SnapshotManifest, directory: string): Promise<void> {
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let file = manifest.files[next++]; file !== undefined; file = manifest.files[next++]) {
        await this.bring(task, manifest.id, file, path.join(directory, file.name));
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: RESTORE_LANES }, lane));
    const failed = lanes.find((result) => result.status === 'rejected');
    if (failed === undefined) return;
    for (const { name } of manifest.files) await removeFile(path.join(directory, name));
    throw failed.reason;
  }

  private async bring(task: string, id: string, file: SnapshotFile, to: string): Promise<void> {
    const from = path.join(this.contents(task), file.sha256);
    const bad = (how: string, cause?: unknown): CorruptDataError =>
      new CorruptDataError(
        `File ${file.name} of snapshot ${id} of ${task} ${how} (${from}). Restore an older snapshot, or rebuild from the state log.`,
        { cause },
      );
    let brought: CopiedFile;
    try {
      brought = await copyHashed(from, to);
    } catch (error) {
      if (isMissing(error)) throw bad('is missing', error);
      throw error;
    }
    if (brought.sizeBytes !== file.sizeBytes) throw bad(`has ${brought.sizeBytes} bytes instead of ${file.sizeBytes}`);
    if (brought.sha256 !== file.sha256) throw bad('does not match its checksum');
  }

  private async isKept(task: string, file: SnapshotFile): Promise<boolean> {
    try {
      return (await stat(path.join(this.contents(task), file.sha256))).size === file.sizeBytes;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  /** Oldest first. */
  private async snapshots(task: string): Promise<KeptSnapshot[]> {
    const directory = this.manifests(task);
    const found: KeptSnapshot[] = [];
    for (const name of await readdirOrNone(directory)) {
      const [, number, id] = MANIFEST_NAME.exec(name) ?? [];
      if (number === undefined || id === undefined) continue; // left by a crash in mid-write
      found.push({ number: Number(number), id: decodeURIComponent(id), file: path.join(directory, name) });
    }
    return found.sort((a, b) => a.number - b.number);
  }

  /** Files of kept snapshots by what tells them apart at their source (S2). */
  private async knownOrigins(kept: readonly KeptSnapshot[]): Promise<Map<string, SnapshotFile>> {
    const known = new Map<string, SnapshotFile>();
    for (const { file } of kept) {
      const manifest = await readManifest(file);
      for (const entry of manifest?.files ?? []) known.set(originKey(entry.name, entry.origin), entry);
    }
    return known;
  }

  private contents(task: string): string {
    return path.join(this.root, fileName(task), 'contents');
  }

  private manifests(task: string): string {
    return path.join(this.root, fileName(task), 'snapshots');
  }

  private async inTurn<T>(task: string, what: string, work: () => Promise<T>): Promise<T> {
    const before = this.turns.get(task) ?? Promise.resolve();
    const result = before.then(work);
    const ended = result.then(
      () => undefined,
      () => undefined, // the caller has the error
    );
    this.turns.set(task, ended);
    try {
      return await result;
    } catch (cause) {
      if (cause instanceof StreamError) throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new StreamError(
        'snapshot-store-failed',
        `Cannot ${what}: ${reason}. Check space and rights of ${this.root}; nothing kept was changed.`,
        { cause },
      );
    } finally {
      if (this.turns.get(task) === ended) this.turns.delete(task);
    }
  }
}

/** Null where the manifest is damaged; who needs it whole reads it by itself. */
async function readManifest(file: string): Promise<SnapshotManifest | null> {
  const text = await readFile(file, 'utf8');
  try {
    return decodeManifest(text, file);
  } catch (error) {
    if (error instanceof CorruptDataError) return null;
    throw error;
  }
}

async function plainFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const other = entries.find((entry) => !entry.isFile());
  if (other !== undefined) {
    throw new StreamError(
      'snapshot-store-failed',
      `Cannot keep ${directory}: ${other.name} is not a plain file. Give a directory that a store's snapshot wrote.`,
    );
  }
  return entries.map((entry) => entry.name).sort();
}

async function originOf(file: string): Promise<string> {
  const { size, ino, mtimeNs } = await stat(file, { bigint: true });
  return `${size}:${ino}:${mtimeNs}`;
}

function originKey(name: string, origin: string): string {
  return `${name}:${origin}`;
}

function manifestName(number: number, id: string): string {
  return `${String(number).padStart(12, '0')}-${fileName(id)}.manifest`;
}

/** Any text as one file name; reversible. */
function fileName(text: string): string {
  const name = encodeURIComponent(text)
    .replace(/^\.+$/, (dots) => '%2E'.repeat(dots.length))
    .replaceAll('*', '%2A');
  if (name.length > 0 && name.length <= 200) return name;
  throw new StreamError(
    'snapshot-name-too-long',
    `"${text.slice(0, 60)}" cannot name a task or snapshot: it must have between 1 and 200 bytes once escaped.`,
  );
}

async function readdirOrNone(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
