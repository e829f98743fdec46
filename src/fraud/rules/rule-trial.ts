/**
 * Owns trying a rule out: payments in, and for each of them whether the rule fires, why, and what it saw. Nothing of
 * production is read or written: every trial begins with cards that nothing is known of. Neighbours: `rule-trial-run.ts`
 * takes the payments through the pipeline's own steps, the API asks.
 *
 * T1 One trial at a time (the model takes one call at a time), and a bounded number waits.
 * T2 The model is opened by the first trial that comes, and closed with this.
 */
import { StreamError } from '../../stream/errors.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import type { PaymentSource } from '../payments/payment-source.js';
import type { Scorer } from '../scoring/scorer.js';
import type { RuleVersion } from './rule.js';
import { type TrialCase, type TrialResult, tryRule } from './rule-trial-run.js';

export interface RuleTrialParts {
  /** As the pipeline reads them, JSON; made for this alone, as a decoder serves one reader. */
  readonly payments: PaymentSource;
  readonly outOfOrdernessMs: number;
  openScorer(): Promise<Scorer>;
}

/** The model could not be opened. */
class ModelUnavailableError extends StreamError {
  constructor(cause: unknown) {
    super(
      'model-unavailable',
      'The model that scores payments could not be opened here, so nothing can be tried out. The log tells why.',
      { cause },
    );
  }
}

class TrialBusyError extends StreamError {
  readonly retryAfterS = 2;
  constructor() {
    super('trial-busy', `${MOST_WAITING} trials wait already. Try again in a moment.`);
  }
}

const MOST_WAITING = 8;

export class RuleTrial {
  private scorer: Promise<Scorer> | null = null;
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private isClosed = false;

  constructor(private readonly parts: RuleTrialParts) {}

  /**
   * Takes the payments through the steps in their order and tells what the rule makes of each.
   * Errors: `trial-busy`, `model-unavailable`.
   */
  async run(rule: RuleVersion, patterns: PatternParameters, cases: readonly TrialCase[]): Promise<TrialResult> {
    if (this.waiting >= MOST_WAITING) throw new TrialBusyError();
    this.waiting += 1;
    const { payments, outOfOrdernessMs } = this.parts;
    // T1
    const done = this.last.then(async () =>
      tryRule({ rule, patterns, payments, outOfOrdernessMs, scorer: await this.openedScorer() }, cases),
    );
    this.last = done.catch(() => {});
    try {
      return await done;
    } finally {
      this.waiting -= 1;
    }
  }

  /** Lets a trial under way end, then closes the model. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.last;
    const scorer = await this.scorer?.catch(() => null);
    await scorer?.close();
  }

  /** T2. A failure is told once and tried again by the next trial. */
  private async openedScorer(): Promise<Scorer> {
    if (this.isClosed) throw new ModelUnavailableError(new Error('this process stops'));
    this.scorer ??= this.parts.openScorer();
    try {
      return await this.scorer;
    } catch (cause) {
      this.scorer = null;
      throw new ModelUnavailableError(cause);
    }
  }
}
