/**
 * Owns snapshots kept in an object store: a directory or S3, the same for both.
 * Neighbours: `snapshot-manifest.ts` says what a snapshot consists of, `snapshot-names.ts` what its objects are called.
 *
 *   <task>/contents/<sha256>                      a file's content, named by itself
 *   <task>/snapshots/<number>-<id>.manifest       written last; <number> grows with each
 *   <task>/uploads/<id>                           there while a snapshot is being put: when that began, ms since 1970
 *
 * Invariants:
 *   S1 Contents are named by their SHA-256, so one file is never taken for another, whatever the two are called; RocksDB
 *      uses its file names again after a store was wiped.
 *   S2 A source file is read only if it is new: same name, size, inode and time of change (ns) as in an earlier snapshot
 *      means the same file; and a content that is still kept, at its size, is not sent again.
 *   S3 A manifest is written when all its contents are kept for good; a crash before leaves contents that nothing needs,
 *      and a later `delete` removes them, once the mark of their put (S5) has lapsed.
 *   S4 One owner a task at a time (its epoch log fences); within this object, calls for a task run one after another.
 *   S5 An owner that was fenced and does not know it may still delete. So contents are cleared only while nobody puts:
 *      a put leaves its mark before its first content and takes it away after its manifest, and a delete lists contents
 *      first, then marks, then manifests; what it lists is either needed by a manifest, marked, or nobody's. A mark
 *      lapses, for a put that crashed. What is left: a delete that stalls between its last list and its removal, while
 *      the next owner puts a content again that nothing needed before; its checkpoint is then refused by name (SHA-256),
 *      and the one before it is used.
 */
import { mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { CorruptDataError, StreamError, whileDoing } from '../../stream/errors.js';
import type { Clock, ObjectStore, SnapshotStore } from '../../stream/ports.js';
import { systemClock } from '../../stream/runtime/system-clock.js';
import { digestFile, removeFile, syncDirectory } from './durable-files.js';
import { inLanes } from './lanes.js';
import { decodeManifest, encodeManifest, type SnapshotFile, type SnapshotManifest } from './snapshot-manifest.js';
import {
  contentName,
  contentsOf,
  type KeptSnapshot,
  manifestName,
  parseManifestName,
  snapshotsOf,
  uploadName,
  uploadsOf,
} from './snapshot-names.js';

/** Files asked for, sent or brought at once. */
const LANES = 4;

/** A put that takes longer than this crashed (S5). Checkpoints are given up long before. */
const MARK_LAPSES_MS = 3_600_000;

/**
 * Errors: {@link CorruptDataError} from `restore`; codes `snapshot-exists`, `snapshot-directory-not-empty`,
 * `snapshot-name-too-long`, `snapshot-store-failed` (the local disk said no; the cause tells), and those of the objects.
 */
export function objectSnapshotStore(objects: ObjectStore, clock: Pick<Clock, 'now'> = systemClock): SnapshotStore {
  return new ObjectSnapshotStore(objects, clock);
}

class ObjectSnapshotStore implements SnapshotStore {
  /** The last call of each task under way; never rejects. (S4) */
  private readonly turns = new Map<string, Promise<void>>();

  constructor(
    private readonly objects: ObjectStore,
    private readonly clock: Pick<Clock, 'now'>,
  ) {}

  put(task: string, id: string, directory: string): Promise<{ readonly sizeBytes: number; readonly newBytes: number }> {
    return this.inTurn(task, `keep snapshot ${id} of ${task}`, async () => {
      const kept = await this.snapshots(task);
      if (kept.some((snapshot) => snapshot.id === id)) {
        throw new StreamError('snapshot-exists', `Snapshot ${id} of ${task} is kept already. Give a new id.`);
      }
      const known = await this.knownOrigins(kept);
      const names = await plainFiles(directory);
      const mark = uploadName(task, id);
      await this.objects.put(mark, Buffer.from(String(this.clock.now()))); // S5
      const files = new Map<string, SnapshotFile>();
      const sent = new Map<string, Promise<number>>();
      await inLanes(names, LANES, async (name) => {
        files.set(name, await this.keep(task, path.join(directory, name), name, known, sent));
      });
      const number = Math.max(0, ...kept.map((snapshot) => snapshot.number)) + 1;
      const ordered = names.flatMap((name) => files.get(name) ?? []);
      const manifest = encodeManifest({ format: 1, task, id, files: ordered });
      await this.objects.put(manifestName(task, number, id), Buffer.from(manifest)); // S3
      await this.objects.delete([mark]);
      const newBytes = (await Promise.all(sent.values())).reduce((sum, bytes) => sum + bytes, 0);
      return { sizeBytes: ordered.reduce((sum, file) => sum + file.sizeBytes, 0), newBytes };
    });
  }

  restore(task: string, id: string, directory: string): Promise<void> {
    return this.inTurn(task, `restore snapshot ${id} of ${task} into ${directory}`, async () => {
      const found = (await this.snapshots(task)).find((snapshot) => snapshot.id === id);
      const text = found === undefined ? null : await this.objects.get(found.name);
      if (found === undefined || text === null) {
        throw new CorruptDataError(
          `Snapshot ${id} of ${task} is not kept in ${this.objects.place}. Restore another one.`,
        );
      }
      const manifest = decodeManifest(text.toString(), this.placeOf(found.name));
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
      await this.objects.delete(kept.filter((snapshot) => snapshot.id === id).map(({ name }) => name));
      const contents = await this.objects.list(contentsOf(task));
      if (await this.isBeingPut(task)) return; // S5
      const needed = new Set<string>();
      for (const { name } of await this.snapshots(task)) {
        // A manifest that cannot be read stops the clearing, not the deletion: what it needs is not known.
        const manifest = await this.readManifest(name);
        if (manifest === null) return;
        for (const { sha256 } of manifest.files) needed.add(contentName(task, sha256));
      }
      await this.objects.delete(contents.filter((name) => !needed.has(name)));
    });
  }

  /** Whether a mark says so that has not lapsed; lapsed ones are removed. */
  private async isBeingPut(task: string): Promise<boolean> {
    const lapsed: string[] = [];
    let isBeingPut = false;
    for (const mark of await this.objects.list(uploadsOf(task))) {
      const began = await this.objects.get(mark);
      if (began === null) continue; // put meanwhile: its manifest is listed after this
      if (this.clock.now() - Number(began.toString()) < MARK_LAPSES_MS) isBeingPut = true;
      else lapsed.push(mark);
    }
    if (lapsed.length > 0) await this.objects.delete(lapsed);
    return isBeingPut;
  }

  /** Makes sure that the file's content is kept. Reads the file unless it is known (S2). */
  private async keep(
    task: string,
    from: string,
    name: string,
    known: ReadonlyMap<string, SnapshotFile>,
    sent: Map<string, Promise<number>>,
  ): Promise<SnapshotFile> {
    const origin = await originOf(from);
    const same = known.get(originKey(name, origin));
    if (same !== undefined && (await this.isKept(task, same))) return same;
    const file: SnapshotFile = { name, ...(await digestFile(from, { flush: false })), origin };
    // Two files of one content are sent once.
    const sending = sent.get(file.sha256) ?? this.send(task, from, file);
    sent.set(file.sha256, sending);
    await sending;
    return file;
  }

  /** Bytes sent: none where the content is kept. */
  private async send(task: string, from: string, file: SnapshotFile): Promise<number> {
    if (await this.isKept(task, file)) return 0;
    await this.objects.putFile(contentName(task, file.sha256), from);
    return file.sizeBytes;
  }

  private async isKept(task: string, { sha256, sizeBytes }: SnapshotFile): Promise<boolean> {
    return (await this.objects.sizeOf(contentName(task, sha256))) === sizeBytes;
  }

  /** Brings and verifies every file; removes what it brought if one is bad. */
  private async bringAll(task: string, manifest: SnapshotManifest, directory: string): Promise<void> {
    try {
      await inLanes(manifest.files, LANES, (file) => this.bring(task, manifest.id, file, directory));
    } catch (error) {
      for (const { name } of manifest.files) await removeFile(path.join(directory, name));
      throw error;
    }
  }

  private async bring(task: string, id: string, file: SnapshotFile, directory: string): Promise<void> {
    const content = contentName(task, file.sha256);
    const to = path.join(directory, file.name);
    const bad = (how: string): CorruptDataError =>
      new CorruptDataError(
        `File ${file.name} of snapshot ${id} of ${task} ${how} (${this.placeOf(content)}). Restore an older snapshot, or rebuild from the state log.`,
      );
    if (!(await this.objects.getFile(content, to))) throw bad('is missing');
    const brought = await digestFile(to, { flush: true });
    if (brought.sizeBytes !== file.sizeBytes) throw bad(`has ${brought.sizeBytes} bytes instead of ${file.sizeBytes}`);
    if (brought.sha256 !== file.sha256) throw bad('does not match its checksum');
  }

  /** Oldest first. */
  private async snapshots(task: string): Promise<KeptSnapshot[]> {
    const names = await this.objects.list(snapshotsOf(task));
    return names.flatMap((name) => parseManifestName(name) ?? []).sort((a, b) => a.number - b.number);
  }

  /** Files of kept snapshots by what tells them apart at their source (S2). */
  private async knownOrigins(kept: readonly KeptSnapshot[]): Promise<Map<string, SnapshotFile>> {
    const known = new Map<string, SnapshotFile>();
    for (const { name } of kept) {
      const manifest = await this.readManifest(name);
      for (const file of manifest?.files ?? []) known.set(originKey(file.name, file.origin), file);
    }
    return known;
  }

  /** Null where the manifest is damaged or gone; who needs it whole reads it by itself. */
  private async readManifest(name: string): Promise<SnapshotManifest | null> {
    const text = await this.objects.get(name);
    if (text === null) return null;
    try {
      return decodeManifest(text.toString(), this.placeOf(name));
    } catch (error) {
      if (error instanceof CorruptDataError) return null;
      throw error;
    }
  }

  private placeOf(name: string): string {
    return `${this.objects.place}/${name}`;
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
      // Our own errors tell it all; those of objects name an object, which says little without what it was for.
      if (cause instanceof StreamError && !cause.code.startsWith('object-store-')) throw cause;
      throw whileDoing(cause, 'snapshot-store-failed', `Cannot ${what}; snapshots kept before are as they were`);
    } finally {
      if (this.turns.get(task) === ended) this.turns.delete(task);
    }
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
