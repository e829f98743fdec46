/** Owns how the commands on savepoints and rescaling write figures, and tell that they were asked to end. */
import { stopped } from '../app/drain.js';
import { StoppedError } from '../stream/epoch/replay.js';

export const whole = (count: number): string => count.toLocaleString('en');

export const mebibytes = (bytes: number): string => `${(bytes / 1_048_576).toFixed(bytes < 10_485_760 ? 2 : 0)} MiB`;

/** What ended because the signal was aborted says so. */
export async function asStopped<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof StoppedError ? stopped() : error;
  }
}
