/** Owns a worker thread's first step: `worker-entry.ts`, which is the thread, is loaded from compiled code where that is kept. */
import { workerData } from 'node:worker_threads';
import { useCodeCache } from './code-cache.js';
import type { EarlySettings } from './worker-entry.js';

const { data } = workerData as { readonly data: EarlySettings };
useCodeCache(data.codeDirectory);
await import('./worker-entry.js');
