/** Owns waiting in a task's loop: one waiter, woken by whatever finished (a fetch, a commit, a stop) or by time. */
import type { Clock } from '../ports.js';

export class Signal {
  private waiter: (() => void) | null = null;
  private raised = false;

  constructor(private readonly clock: Clock) {}

  /** Ends the present wait, or the next one before it begins. */
  wake(): void {
    if (this.waiter === null) {
      this.raised = true;
      return;
    }
    const resume = this.waiter;
    this.waiter = null;
    resume();
  }

  /** Resolves on `wake` or after `timeoutMs`. One wait at a time. */
  wait(timeoutMs: number): Promise<void> {
    if (this.raised) {
      this.raised = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const cancel = this.clock.schedule(timeoutMs, () => this.wake());
      this.waiter = () => {
        cancel();
        resolve();
      };
    });
  }
}
