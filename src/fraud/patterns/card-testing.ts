/**
 * Owns the card-testing pattern: a thief tries a stolen card with several small payments, then takes a large one. Small
 * ones without a large one in time are an unfinished test, which a timer tells of. Neighbours: the matcher in
 * `src/stream/pattern/sequence.ts`, `card-patterns.ts` runs this, `../alerts` writes the alerts.
 */
import {
  type FirstStageHistory,
  SEQUENCE_STEP,
  SequenceMatcher,
  type SequenceStage,
} from '../../stream/pattern/sequence.js';
import type { PatternFinding } from '../alerts/alert.js';
import type { CardColumns } from '../cards/state.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { PatternParameters } from './pattern-parameters.js';
import { paymentsBetween } from './remembered-payments.js';

export type CardTestingFinding = Extract<PatternFinding, { pattern: 'card-testing' }>;
type Parameters = PatternParameters['cardTesting'];

/** The card state's timer that this pattern owns. */
export const CARD_TESTING_TIMER = 'testingExpires';

/** The small payments in a card's ring: what the matcher makes its run anew from. */
class SmallPayments implements FirstStageHistory {
  count = 0;
  firstAtMs = 0;

  constructor(
    private readonly card: CardColumns,
    private readonly smallMaxMinor: number,
  ) {}

  read(slot: number, fromMs: number, toMs: number): void {
    const { recent } = this.card;
    const { occurredAt, amountMinor } = recent.entry;
    const first = slot * recent.field.size;
    let count = 0;
    let firstAtMs = Infinity;
    for (let i = first, end = first + recent.length(slot); i < end; i++) {
      const timeMs = occurredAt[i];
      if (timeMs < fromMs || timeMs > toMs || amountMinor[i] > this.smallMaxMinor) continue;
      count++;
      if (timeMs < firstAtMs) firstAtMs = timeMs;
    }
    this.count = count;
    this.firstAtMs = count === 0 ? 0 : firstAtMs;
  }
}

function stages(p: Parameters): readonly SequenceStage<PaymentBatch>[] {
  return [
    { name: 'small', atLeast: p.minSmall, matches: (batch, row) => batch.amountMinor[row] <= p.smallMaxMinor },
    { name: 'large', atLeast: 1, matches: (batch, row) => batch.amountMinor[row] >= p.largeMinMinor },
  ];
}

/** Watches the cards of one task. */
export class CardTesting {
  private readonly sequence: SequenceMatcher<PaymentBatch>;

  constructor(
    private readonly parameters: Parameters,
    private readonly card: CardColumns,
  ) {
    this.sequence = new SequenceMatcher(
      stages(parameters),
      parameters.withinMs,
      {
        stage: card.testingStage,
        count: card.testingSmallCount,
        startedAt: card.testingStartedAt,
        expires: card.testingExpires,
      },
      new SmallPayments(card, parameters.smallMaxMinor),
    );
  }

  /** The finding where this payment is the large one of a test, else null. Allocates for a finding alone. */
  look(batch: PaymentBatch, row: number, slot: number): CardTestingFinding | null {
    const timeMs = batch.eventTimeMs[row];
    if (this.sequence.advance(batch, row, slot, timeMs) !== SEQUENCE_STEP.completed) return null;
    return this.finding(slot, this.sequence.completedSinceMs, timeMs, true);
  }

  /** The finding where the test that expires at `dueMs` had enough small payments to be told of, else null. */
  expire(slot: number, dueMs: number): CardTestingFinding | null {
    const { unfinishedMinSmall } = this.parameters;
    if (this.sequence.expire(slot, dueMs, unfinishedMinSmall) < unfinishedMinSmall) return null;
    return this.finding(slot, dueMs - this.parameters.withinMs, dueMs, false);
  }

  private finding(slot: number, sinceMs: number, timeMs: number, completed: boolean): CardTestingFinding {
    const matched = paymentsBetween(this.card, slot, sinceMs, timeMs, this.parameters.smallMaxMinor);
    const startedAt = matched.length > 0 ? matched[0].occurredAt : sinceMs;
    return { pattern: 'card-testing', smallCount: matched.length, startedAt, completed, matched };
  }
}
