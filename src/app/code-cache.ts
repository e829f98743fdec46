/**
 * Owns the compiled code that is kept between starts, so that a restart does not compile it again: 150 ms of 1.5 s to the
 * first commit. It lies in the data directory, which is ours alone: compiled code is trusted as the code itself. Node
 * checks each file against its source and its own version; without the cache a start is slower and nothing else.
 * Neighbours: `run.ts` on the main thread and `worker-start.ts` on each other one, before they load anything large.
 */
import { enableCompileCache, flushCompileCache } from 'node:module';

/** What is loaded from now on is taken from there where it can be. */
export function useCodeCache(directory: string): void {
  enableCompileCache(directory);
}

/** Keeps what was compiled so far: a killed process would keep nothing. Takes a moment at the first start alone. */
export function keepCompiledCode(): void {
  flushCompileCache();
}
