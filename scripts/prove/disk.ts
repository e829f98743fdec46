/**
 * Owns small disks: a tmpfs of some MiB mounted where a service keeps its data, which can be filled until nothing more
 * fits. It needs root on Linux; `whyNot` tells where it cannot be had.
 * Neighbours: `nemeses/` fills it; the runner puts a service's data directory on it before the service starts.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { DiskControl } from './nemeses/nemesis.js';

const run = promisify(execFile);
const MIB = 1_048_576;
/** Of what fills the disk: first coarsely, then down to a page. */
const PIECES_BYTES = [MIB, 64 * 1024, 4_096];
const FILLER = '.fills-the-disk';

export class SmallDisk implements DiskControl {
  private readonly unmountWithUs = () => {
    // This process ends: nobody is left to tell of what fails now.
    if (this.mounted) execFileSync('umount', ['-l', this.directory], { stdio: 'ignore' });
  };
  private mounted = true;

  private constructor(
    readonly directory: string,
    readonly sizeBytes: number,
  ) {
    // Before the directory that it lies in is removed.
    process.prependOnceListener('exit', this.unmountWithUs);
  }

  /** Mounts an empty disk on `directory`, which is made. Errors: mounts are not allowed here, see {@link whyNoDisk}. */
  static async open(directory: string, sizeMiB: number): Promise<SmallDisk> {
    await mkdir(directory, { recursive: true });
    await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=755`, 'tmpfs', directory]);
    return new SmallDisk(directory, sizeMiB * MIB);
  }

  async fill(): Promise<void> {
    const file = await open(join(this.directory, FILLER), 'w');
    try {
      for (const bytes of PIECES_BYTES) {
        const piece = Buffer.alloc(bytes, 1);
        while (await fits(file, piece));
      }
    } finally {
      await file.close();
    }
  }

  async free(): Promise<void> {
    await rm(join(this.directory, FILLER), { force: true });
  }

  /** Unmounts it; what it holds is gone. Its directory stays. */
  async close(): Promise<void> {
    if (!this.mounted) return;
    process.removeListener('exit', this.unmountWithUs);
    // Lazily: a process that was just killed may hold it for a moment.
    await run('umount', ['-l', this.directory]);
    this.mounted = false;
  }
}

async function fits(file: Awaited<ReturnType<typeof open>>, piece: Buffer): Promise<boolean> {
  try {
    return (await file.write(piece)).bytesWritten === piece.length;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}

/** Why no small disk can be had here; null where it can. */
export async function whyNoDisk(): Promise<string | null> {
  if (process.platform !== 'linux') return 'small disks are mounted on Linux alone';
  if (process.getuid?.() !== 0) return 'only root may mount a small disk';
  const directory = await mkdtemp(join(tmpdir(), 'disk-'));
  try {
    const disk = await SmallDisk.open(directory, 1);
    await disk.close();
    return null;
  } catch (error) {
    return `a small disk cannot be mounted here: ${error instanceof Error ? error.message.trim() : String(error)}`;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
