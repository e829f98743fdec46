/** Owns the real local disk behind the core's {@link LocalDisk} port. */
import { mkdir, rename, rm } from 'node:fs/promises';
import type { LocalDisk } from '../ports.js';

export const systemDisk: LocalDisk = {
  make: async (directory) => {
    await mkdir(directory, { recursive: true });
  },
  remove: (directory) => rm(directory, { recursive: true, force: true }),
  move: (from, to) => rename(from, to),
};
