/**
 * Owns the names of a snapshot's objects. Neighbour: `snapshot-store.ts`, whose header shows them.
 */
import { StreamError } from '../../stream/errors.js';
import { asObjectSegment } from '../../stream/object-names.js';

const MANIFEST = /\/(\d{12})-([^/]*)\.manifest$/;
/** What a manifest's name has beside the id. */
const AROUND_ID = 22;

/** A snapshot as its manifest's name tells of it. */
export interface KeptSnapshot {
  /** Grows with each snapshot of a task. */
  readonly number: number;
  readonly id: string;
  /** The manifest's. */
  readonly name: string;
}

export function contentsOf(task: string): string {
  return `${segment(task)}/contents/`;
}

export function contentName(task: string, sha256: string): string {
  return contentsOf(task) + sha256;
}

export function uploadsOf(task: string): string {
  return `${segment(task)}/uploads/`;
}

export function uploadName(task: string, id: string): string {
  return uploadsOf(task) + segment(id);
}

export function snapshotsOf(task: string): string {
  return `${segment(task)}/snapshots/`;
}

export function manifestName(task: string, number: number, id: string): string {
  return `${snapshotsOf(task)}${String(number).padStart(12, '0')}-${segment(id)}.manifest`;
}

/** Null where the object is no manifest. */
export function parseManifestName(name: string): KeptSnapshot | null {
  const [, number, id] = MANIFEST.exec(name) ?? [];
  return number === undefined || id === undefined ? null : { number: Number(number), id: decodeURIComponent(id), name };
}

function segment(text: string): string {
  const segment = asObjectSegment(text);
  if (segment !== null && segment.length <= 200 - AROUND_ID) return segment;
  throw new StreamError(
    'snapshot-name-too-long',
    `"${text.slice(0, 60)}" cannot name a task or snapshot: it must have between 1 and ${200 - AROUND_ID} bytes once escaped.`,
  );
}
