/**
 * Owns finding and asking the coordinator of a transactional id or a group, to a deadline.
 * Neighbours: `transaction.ts` and `group/` ask; `links.ts` carries.
 */
import { API, API_ERROR } from 'kafka-ts';
import type { Api } from 'kafka-ts/dist/utils/api.js';
import { brokerCodeOf, COORDINATOR_MOVED, isConnectionLoss, told } from './errors.js';
import type { BrokerLinks } from './links.js';
import { Backoff, Deadline, pause } from './waiting.js';

const KEY_TYPE = { group: 0, transaction: 1 } as const;

/** The last transaction's markers are still being written: over within some ms. */
const CONCURRENT_PAUSE_MS = 3;

export class Coordinator {
  private nodeId: number | null = null;

  constructor(
    private readonly links: BrokerLinks,
    private readonly kind: keyof typeof KEY_TYPE,
    readonly key: string,
  ) {}

  /** Forgets where the coordinator is; the next request looks for it. */
  forget(): void {
    this.nodeId = null;
  }

  /** Sends once, finding the coordinator first where it is not known. Errors as `BrokerLinks.askNode`. */
  async ask<Request, Answer>(api: Api<Request, Answer>, request: Request, deadline: Deadline): Promise<Answer> {
    this.nodeId ??= await this.find(deadline);
    return this.links.askNode(this.nodeId, api, request);
  }

  /**
   * Sends until the coordinator answers: goes after a moved coordinator, waits out a transaction that is completing,
   * and, where `repeatAfterLoss` says that repeating is harmless, repeats after a lost connection.
   * Errors: what the broker refused, or the last trouble once `deadline` has passed.
   */
  async askUntilAnswered<Request, Answer>(
    api: Api<Request, Answer>,
    request: Request,
    deadline: Deadline,
    repeatAfterLoss: boolean,
  ): Promise<Answer> {
    const backoff = new Backoff(20, 500);
    for (;;) {
      try {
        return await this.ask(api, request, deadline);
      } catch (error) {
        const code = brokerCodeOf(error);
        const lost = isConnectionLoss(error);
        const moved = code !== null && COORDINATOR_MOVED.has(code);
        const concurrent = code === API_ERROR.CONCURRENT_TRANSACTIONS;
        if (lost || moved) this.forget();
        if (deadline.passed || !(moved || concurrent || (lost && repeatAfterLoss))) throw error;
        if (concurrent) await pause(CONCURRENT_PAUSE_MS);
        else await backoff.wait();
      }
    }
  }

  private async find(deadline: Deadline): Promise<number> {
    const backoff = new Backoff(20, 500);
    for (;;) {
      try {
        const answer = await this.links.ask(API.FIND_COORDINATOR, { keyType: KEY_TYPE[this.kind], keys: [this.key] });
        const { nodeId, host, port } = answer.coordinators[0];
        this.links.learn([{ nodeId, host, port }]);
        return nodeId;
      } catch (error) {
        const code = brokerCodeOf(error);
        const passing = isConnectionLoss(error) || (code !== null && COORDINATOR_MOVED.has(code));
        if (!passing || deadline.passed) throw told(error, 'FindCoordinator', `${this.kind} ${this.key}`);
        await backoff.wait();
      }
    }
  }
}
