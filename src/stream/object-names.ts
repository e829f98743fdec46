/**
 * Owns what an object's name may be, the same for every kind of object store: '/'-separated segments that are file names
 * on any disk and need no escape in S3. Neighbours: the adapters of the port `ObjectStore` check each name they are
 * given; who makes names of foreign text (task ids, savepoint names) escapes it with {@link asObjectSegment}.
 */
import { StreamError } from './errors.js';

const SEGMENT = /^[A-Za-z0-9_%~!'()@=+,-][A-Za-z0-9._%~!'()@=+,-]{0,199}$/;
/** S3 takes 1,024 bytes, of which a prefix may need some. */
const MAX_NAME_BYTES = 800;

/** Gives the name back. Error `object-name`: an empty or too long segment, a dot in front, or a character not taken. */
export function checkObjectName(name: string): string {
  if (name.length <= MAX_NAME_BYTES && name.split('/').every((segment) => SEGMENT.test(segment))) return name;
  throw new StreamError(
    'object-name',
    `"${name.slice(0, 100)}" cannot name an object: segments between slashes have 1 to 200 letters, digits or ._%~!'()@=+,- ` +
      `and do not begin with a dot, all of it ${MAX_NAME_BYTES} characters at most.`,
  );
}

/** Any text as one segment; `decodeURIComponent` reverses it. Null where it is empty or too long. */
export function asObjectSegment(text: string): string | null {
  const segment = encodeURIComponent(text).replace(/^\./, '%2E').replaceAll('*', '%2A');
  return SEGMENT.test(segment) ? segment : null;
}
