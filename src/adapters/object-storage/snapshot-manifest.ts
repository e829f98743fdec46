/**
 * Owns the manifest of a kept snapshot: which files it has and what they must be. A snapshot exists from the moment its
 * manifest does.
 * Neighbour: `snapshot-store.ts` writes it last and reads it first.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CorruptDataError } from '../../stream/errors.js';

const file = z.strictObject({
  name: z
    .string()
    .min(1)
    .refine((name) => !/[/\\]|^\.{1,2}$/.test(name), 'must be a plain file name'),
  sizeBytes: z.int().nonnegative(),
  /** Names the content; 64 hexadecimal digits. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** How the source file looked when it was read, to know it again without reading it: inode, time of change (ns). */
  origin: z.string(),
});

const manifest = z.strictObject({
  format: z.literal(1),
  task: z.string(),
  id: z.string(),
  files: z.array(file).readonly(),
});

export type SnapshotFile = Readonly<z.infer<typeof file>>;
export type SnapshotManifest = Readonly<z.infer<typeof manifest>>;

/** The manifest's JSON in one line, its checksum in a second. */
export function encodeManifest(value: SnapshotManifest): string {
  const body = JSON.stringify(value);
  return `${body}\n${sha256(body)}\n`;
}

/** Errors: {@link CorruptDataError} naming `place`. */
export function decodeManifest(text: string, place: string): SnapshotManifest {
  const [body, checksum] = text.split('\n');
  if (body === undefined || checksum !== sha256(body)) {
    throw new CorruptDataError(
      `The snapshot manifest ${place} does not match its checksum. Restore an older snapshot, or rebuild from the state log.`,
    );
  }
  const parsed = manifest.safeParse(JSON.parse(body));
  if (parsed.success) return parsed.data;
  throw new CorruptDataError(
    `The snapshot manifest ${place} has a form unknown here (${parsed.error.issues[0]?.message}). A newer version may have written it: use that one, or restore an older snapshot.`,
    { cause: parsed.error },
  );
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
