/**
 * Owns what a simulated process reaches the log by: the port {@link LogBackend} over its readers and epoch logs, and
 * requests of the control plane. Neighbours: machines and operators open one a process.
 */
import { StreamError } from '../../errors.js';
import type { LogBackend } from '../../ports.js';
import type { RemoteStep } from './faults.js';
import { SimulatedEpochLog } from './simulated-epoch-log.js';
import { TOPICS } from './simulated-pipeline.js';
import { NoAnswerError, RetriableError, type SimulatedProcess } from './simulated-process.js';
import { SimulatedReader } from './simulated-reader.js';
import type { World } from './world.js';

const REQUEST_TIMEOUT_MS = 200;
const PATIENCE_MS = 120_000;
const RETRY_AFTER_MS = 11;

export function simulatedBackend({ log, random, plan }: World, process: SimulatedProcess): LogBackend {
  const notSimulated = async () => {
    throw new Error('nothing here has use for this part of a backend');
  };
  return {
    kind: 'memory',
    openReader: async ({ topic, partition, from }) => {
      const source = log.partition(topic, partition);
      const start = from === 'earliest' ? source.start : from === 'latest' ? source.stableEnd : from;
      const step = topic === TOPICS.table ? 'table-read' : 'source-read';
      return new SimulatedReader(process, source, start, step, {
        fetch: () => random.int(1, 40),
        read: () => random.int(1, 16),
      });
    },
    openEpochLog: async ({ taskId, ownerId, stateLog }) =>
      new SimulatedEpochLog(process, log, {
        taskId,
        ownerId: ownerId ?? taskId,
        stateLog: log.partition(stateLog.topic, stateLog.partition),
        maxRecordBytes: plan.maxRecordBytes,
        fetchLimit: () => random.int(1, 60),
      }),
    openWriter: notSimulated,
    openAdmin: notSimulated,
    openAssignment: notSimulated,
    close: async () => {},
  };
}

/** Asks until it is answered. Errors: what `act` threw; log-unreachable. */
export async function asked<T>(process: SimulatedProcess, step: RemoteStep, act: () => T): Promise<T> {
  const deadline = process.clock.monotonic() + PATIENCE_MS;
  for (;;) {
    try {
      return await process.request(step, act, REQUEST_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof NoAnswerError || error instanceof RetriableError)) throw error;
    }
    if (process.clock.monotonic() > deadline) throw new StreamError('log-unreachable', `${step}: no answer`);
    await new Promise<void>((resolve) => process.clock.schedule(RETRY_AFTER_MS, resolve));
  }
}
