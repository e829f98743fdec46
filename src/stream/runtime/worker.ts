/**
 * Owns a worker thread's side of the talk with the supervisor. The composition root's worker entry builds the parts
 * and calls {@link serveWorker}; from then on the thread does what messages say.
 */
import type { MessagePort } from 'node:worker_threads';
import type { Clock } from '../ports.js';
import type { TaskStatus } from './status.js';
import { type FatalTask, type HostedTask, TaskHost } from './task-host.js';

export type ToWorker =
  | {
      readonly type: 'own';
      readonly request: number;
      readonly partitions: readonly number[];
      readonly distrusted: readonly number[];
    }
  | { readonly type: 'stop' };

export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'owned'; readonly request: number }
  | { readonly type: 'status'; readonly tasks: readonly TaskStatus[] }
  | { readonly type: 'fatal'; readonly fatal: FatalTask }
  | { readonly type: 'say'; readonly level: 'info' | 'warn'; readonly message: string }
  | { readonly type: 'stopped' };

const STATUS_EVERY_MS = 250;

/** Serves until told to stop; resolves after everything is stopped and `close` has run. */
export function serveWorker(parts: {
  readonly port: MessagePort;
  readonly clock: Clock;
  /** `trustsStore` false: a thread died over the task's local store, which is to be built anew. */
  makeTask(partition: number, say: (level: 'info' | 'warn', message: string) => void, trustsStore: boolean): HostedTask;
  close(): Promise<void>;
}): Promise<void> {
  const { port, clock } = parts;
  const send = (message: FromWorker) => port.postMessage(message);
  const say = (level: 'info' | 'warn', message: string) => send({ type: 'say', level, message });
  const host = new TaskHost(
    (partition, trustsStore) => parts.makeTask(partition, say, trustsStore),
    clock,
    (fatal) => send({ type: 'fatal', fatal }),
    say,
  );
  const ticker = setInterval(() => send({ type: 'status', tasks: host.statuses() }), STATUS_EVERY_MS);
  return new Promise((resolve, reject) => {
    port.on('message', (message: ToWorker) => {
      if (message.type === 'own') {
        host
          .own(message.partitions, message.distrusted)
          .then(() => send({ type: 'owned', request: message.request }), reject);
        return;
      }
      host
        .stop()
        .then(async () => {
          clearInterval(ticker);
          send({ type: 'status', tasks: host.statuses() });
          await parts.close();
          send({ type: 'stopped' });
          port.close();
        })
        .then(resolve, reject);
    });
    send({ type: 'ready' });
  });
}
