/**
 * Owns patience with the schema registry: what is waited for, how long, what is said meanwhile, and what comes after.
 * Neighbours: `decode-avro.ts` waits here with the ids that a batch needs; `schema-source.ts` is asked.
 *
 *   all ids known ── never comes here
 *   registry answers ──► go on     (a final "no such schema" is an answer as well)
 *   no answer ──► ask again, the source is held back ──► `waitMs` after the outage began: stop, or refuse the records
 *   not let in ──► stop at once: waiting does not help
 */
import type { Clock } from '../../stream/ports.js';
import { RegistryDeniedError, RegistryUnavailableError, type SchemaSource } from './schema-source.js';

export interface SchemaPatience {
  /** From the registry's first failure on, records with unknown schemas wait for so long. */
  readonly waitMs: number;
  /** Then: the task ends with {@link RegistryUnavailableError}, or these records become dead letters. */
  readonly onUnavailable: 'stop' | 'dead-letter';
  readonly clock: Clock;
  warn(message: string): void;
}

const ASK_EVERY_MS = 100;
const SAY_EVERY_MS = 30_000;
/** Failures farther apart are two outages. */
const ONE_OUTAGE_MS = 15_000;

interface Outage {
  readonly beganAt: number;
  failedAt: number;
  saidAt: number;
}

/** One for all tasks of a thread: an outage is the registry's, not a task's. */
export class SchemaWait {
  private outage: Outage | null = null;

  constructor(
    private readonly schemas: SchemaSource,
    private readonly patience: SchemaPatience,
  ) {}

  /**
   * Asks for these ids until each has an answer, tells `onAnswer` of each; returns earlier when `stopping` holds, or when
   * patience is at its end and the records shall be refused: then ids are left without an answer.
   */
  async get(ids: readonly number[], stopping: () => boolean, onAnswer: (id: number) => void): Promise<void> {
    let missing = ids;
    for (;;) {
      const { failed, error } = await this.askFor(missing, onAnswer);
      if (error === null || stopping()) return;
      missing = failed;
      if (error instanceof RegistryDeniedError) throw error;
      if (this.isOver(error, missing)) return;
      await this.pause();
      if (stopping()) return;
    }
  }

  private async askFor(ids: readonly number[], onAnswer: (id: number) => void) {
    const failed: number[] = [];
    let error: unknown = null;
    await Promise.all(
      ids.map(async (id) => {
        try {
          await this.schemas.fetch(id);
          this.answered();
          onAnswer(id);
        } catch (reason) {
          failed.push(id);
          error = error instanceof RegistryDeniedError ? error : reason;
        }
      }),
    );
    return { failed, error };
  }

  private answered(): void {
    if (this.outage === null) return;
    const { clock, warn } = this.patience;
    const seconds = Math.round((clock.monotonic() - this.outage.beganAt) / 1_000);
    this.outage = null;
    warn(`the schema registry answers again, after ${seconds} s`);
  }

  /** Takes note of a failure. True: these records wait no longer. Throws where the task shall end. */
  private isOver(error: unknown, missing: readonly number[]): boolean {
    const { clock, waitMs, onUnavailable, warn } = this.patience;
    const now = clock.monotonic();
    let { outage } = this;
    if (outage === null || now - outage.failedAt > ONE_OUTAGE_MS) {
      outage = { beganAt: now, failedAt: now, saidAt: Number.NEGATIVE_INFINITY };
      this.outage = outage;
    }
    outage.failedAt = now;
    const reason = error instanceof Error ? error.message : String(error);
    const waitedMs = now - outage.beganAt;
    const ids = `${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ' …' : ''}`;
    if (waitedMs >= waitMs && onUnavailable === 'stop') {
      throw new RegistryUnavailableError(
        `payments name schemas that are not known here (${ids}), and after ${Math.round(waitedMs / 1_000)} s ${reason}. ` +
          'Nothing is lost: bring the registry back, or check registry.url, and start again; ' +
          'registry.waitMs says how long to wait, registry.onUnavailable=dead-letter goes on without these payments',
        { cause: error },
      );
    }
    if (now - outage.saidAt >= SAY_EVERY_MS) {
      outage.saidAt = now;
      const then = waitedMs >= waitMs ? 'their payments become dead letters' : 'payments are held back';
      warn(`schemas ${ids} are not known here and ${reason}; ${then}`);
    }
    return waitedMs >= waitMs;
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      this.patience.clock.schedule(ASK_EVERY_MS, resolve);
    });
  }
}
