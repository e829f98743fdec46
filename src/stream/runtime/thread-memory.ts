/**
 * Owns a look at the memory of the thread that asks: V8's heap, and what hangs on it outside. What native code takes (the
 * state stores, the model) belongs to the process and is not in it. Neighbour: `worker.ts` tells it to the supervisor.
 */
import { getHeapStatistics } from 'node:v8';
import type { ThreadMemory } from './status.js';

export function threadMemory(): ThreadMemory {
  const { used_heap_size, total_heap_size, heap_size_limit, external_memory } = getHeapStatistics();
  return {
    heapUsedBytes: used_heap_size,
    heapTotalBytes: total_heap_size,
    heapLimitBytes: heap_size_limit,
    externalBytes: external_memory,
  };
}
