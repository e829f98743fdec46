/**
 * Owns handing worker threads what is known only after they were started: the main thread starts them first, so that
 * they load their code and model while it asks the log where the state is. A thread started again later gets the same.
 * Neighbours: `supervisor.ts` makes a door for each thread, a worker entry waits at it.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';

type FromThread = 'waiting';
/** Told, not by closing the door: a thread that comes to a door closed before hears nothing. */
type ToThread<Settings> = { readonly settings: Settings } | 'over';

/** The main thread's side. */
export class LateSettings<Settings> {
  private readonly doors = new Set<MessagePort>();
  private given: { readonly settings: Settings } | null = null;
  private closed = false;

  /** `onWaiting` is called for each thread that has come to where it needs the settings. */
  constructor(private readonly onWaiting: () => void = () => {}) {}

  /** A thread's end of a new door, to be transferred to it. */
  door(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    port1.on('message', (message: FromThread) => {
      if (message === 'waiting') this.onWaiting();
    });
    port1.on('close', () => this.doors.delete(port1));
    port1.unref(); // a thread that never comes to its door keeps no process alive
    this.doors.add(port1);
    if (this.closed) port1.postMessage('over' satisfies ToThread<Settings>);
    else if (this.given !== null) port1.postMessage(this.given satisfies ToThread<Settings>);
    return port2;
  }

  get isGiven(): boolean {
    return this.given !== null;
  }

  /** Tells all threads, those too that are started from now on. */
  give(settings: Settings): void {
    this.given = { settings };
    for (const door of this.doors) door.postMessage(this.given);
  }

  /** Whoever still waits gets nothing, and is to end. */
  close(): void {
    this.closed = true;
    for (const door of this.doors) door.postMessage('over' satisfies ToThread<Settings>);
  }
}

/** The thread's side: waits for the settings; null where the process stops before they were known. Closes the door. */
export function lateSettings<Settings>(door: MessagePort): Promise<Settings | null> {
  return new Promise((resolve) => {
    door.once('message', (told: ToThread<Settings>) => {
      resolve(told === 'over' ? null : told.settings);
      door.close();
    });
    door.postMessage('waiting' satisfies FromThread);
  });
}
