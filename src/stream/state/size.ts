/** Owns the arithmetic of a layout's memory: bytes a key in columns. */
import type { LayoutFields, StateLayout } from './layout.js';

export { MAX_KEY_BYTES } from './key-index.js';

/** Bytes that one slot takes in columns. */
export function layoutBytes(layout: StateLayout<LayoutFields>): number {
  let bytes = 0;
  for (const field of Object.values(layout.fields)) {
    if (field.type === 'number') bytes += field.bytes;
    else if (field.type === 'timer') bytes += 8;
    else bytes += 4 + field.size * Object.values(field.entry).reduce((sum, part) => sum + part.bytes, 0);
  }
  return bytes;
}
