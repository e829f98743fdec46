/**
 * Owns a worker thread's side of the talk with the supervisor. The composition root's worker entry builds the parts
 * and calls {@link serveWorker}; from then on the thread does what messages say.
 */
import type { MessagePort } from 'node:worker_threads';
import type { Assigned, Clock, SourcePartition } from '../ports.js';
import type { StandbyStatus, TaskStatus, ThreadMemory } from './status.js';
import { type FatalTask, type HostedStandby, type HostedTask, TaskHost } from './task-host.js';
import { threadMemory } from './thread-memory.js';

export type ToWorker =
  | {
      readonly type: 'own';
      readonly request: number;
      readonly assigned: Assigned;
      readonly distrusted: readonly SourcePartition[];
    }
  | { readonly type: 'stop' };

export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'owned'; readonly request: number }
  | {
      readonly type: 'status';
      readonly tasks: readonly TaskStatus[];
      readonly standbys: readonly StandbyStatus[];
      readonly memory: ThreadMemory;
    }
  | { readonly type: 'fatal'; readonly fatal: FatalTask }
  | { readonly type: 'say'; readonly level: 'info' | 'warn'; readonly message: string }
  | { readonly type: 'stopped' };

const STATUS_EVERY_MS = 250;

/** Serves until told to stop; resolves after everything is stopped and `close` has run. */
export function serveWorker(parts: {
  readonly port: MessagePort;
  readonly clock: Clock;
  /** `trustsStore` false: a thread died over the task's local store, which is to be built anew. */
  makeTask(
    unit: SourcePartition,
    say: (level: 'info' | 'warn', message: string) => void,
    trustsStore: boolean,
  ): HostedTask;
  /** Left out: standbys are not kept here. */
  makeStandby?(
    unit: SourcePartition,
    say: (level: 'info' | 'warn', message: string) => void,
    trustsStore: boolean,
  ): HostedStandby;
  close(): Promise<void>;
}): Promise<void> {
  const { port, clock } = parts;
  const send = (message: FromWorker) => port.postMessage(message);
  const say = (level: 'info' | 'warn', message: string) => send({ type: 'say', level, message });
  const keepStandby = (unit: SourcePartition, trustsStore: boolean) => parts.makeStandby?.(unit, say, trustsStore);
  const host = new TaskHost({
    makeTask: (unit, trustsStore) => parts.makeTask(unit, say, trustsStore),
    ...(parts.makeStandby === undefined ? {} : { makeStandby: keepStandby }),
    clock,
    onFatal: (fatal) => send({ type: 'fatal', fatal }),
    say,
  });
  const tell = () =>
    send({ type: 'status', tasks: host.statuses(), standbys: host.standbyStatuses(), memory: threadMemory() });
  const ticker = setInterval(tell, STATUS_EVERY_MS);
  return new Promise((resolve, reject) => {
    port.on('message', (message: ToWorker) => {
      if (message.type === 'own') {
        host
          .own(message.assigned, message.distrusted)
          .then(() => send({ type: 'owned', request: message.request }), reject);
        return;
      }
      host
        .stop()
        .then(async () => {
          clearInterval(ticker);
          tell();
          await parts.close();
          send({ type: 'stopped' });
          port.close();
        })
        .then(resolve, reject);
    });
    send({ type: 'ready' });
  });
}
