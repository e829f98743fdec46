/**
 * Owns a worker thread whose tasks do nothing but run. It does what the shared `control` words say, a word a worker:
 * 1 throws out of an event, 2 leaves the process, 3 keeps the thread alive after a stop, 4 lets no
 * task stop any more, 5 makes and keeps objects without end. `failingPartition` cannot run.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { StreamError } from '../../../src/stream/errors.js';
import type { StandbyStatus, TaskStatus } from '../../../src/stream/runtime/status.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import type { TaskEnd } from '../../../src/stream/runtime/task.js';
import { serveWorker } from '../../../src/stream/runtime/worker.js';

export interface Control {
  readonly control: Int32Array;
  /** Threads of each worker started so far, and how many were closed in good order. */
  readonly started: Int32Array;
  readonly closed: Int32Array;
  readonly failingPartition: number;
}

const { worker, data } = workerData as { worker: number; data: Control };
if (parentPort === null) throw new Error('this module is the entry of a worker thread');
Atomics.add(data.started, worker, 1);

let stopsHang = false;
const poll = setInterval(() => {
  const command = Atomics.exchange(data.control, worker, 0);
  if (command === 1) throw new Error('crashed on command');
  if (command === 2) process.exit(7);
  if (command === 3) setInterval(() => {}, 1000);
  if (command === 4) stopsHang = true;
  for (const hoard: object[] = []; command === 5; ) hoard.push(Array.from({ length: 1_000 }, () => ({})));
}, 5);

await serveWorker({
  port: parentPort,
  clock: systemClock,
  makeTask: ({ partition }, say, trustsStore) => {
    let end: (how: TaskEnd) => void = () => {};
    return {
      taskId: `task-${partition}`,
      run: () =>
        new Promise((resolve, reject) => {
          end = resolve;
          say('info', `running ${partition} in ${worker}`);
          if (!trustsStore) say('info', `store of ${partition} distrusted`);
          if (partition === data.failingPartition) reject(new StreamError('state-lost', 'gone'));
        }),
      stop: () => {
        if (!stopsHang) end('stopped');
      },
      status: () => ({ taskId: `task-${partition}`, partition, worker }) as TaskStatus,
    };
  },
  makeStandby: ({ partition }, say) => {
    let end: () => void = () => {};
    return {
      taskId: `task-${partition}`,
      run: () =>
        new Promise((resolve) => {
          end = resolve;
          say('info', `standby of ${partition} in ${worker}`);
        }),
      stop: () => end(),
      status: () => ({ taskId: `task-${partition}`, partition, worker }) as StandbyStatus,
    };
  },
  close: async () => {
    clearInterval(poll);
    Atomics.add(data.closed, worker, 1);
  },
});
