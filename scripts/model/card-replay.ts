/**
 * Owns the replay of payments through the detector's own keyed steps, card by card, without logs or tasks: what
 * training sees is what the detector computes. Neighbours: `export-features.ts` writes the rows, `measure-steps.ts`
 * times them.
 */
import { rememberPayment } from '../../src/fraud/cards/remember-payment.js';
import { type CardColumns, cardState } from '../../src/fraud/cards/state.js';
import { cardFeatures } from '../../src/fraud/features/card-features.js';
import { FEATURE_COUNT } from '../../src/fraud/features/feature-list.js';
import { cardPatterns } from '../../src/fraud/patterns/card-patterns.js';
import { DEFAULT_PATTERN_PARAMETERS } from '../../src/fraud/patterns/pattern-parameters.js';
import { PaymentBatch } from '../../src/fraud/payments/payment-batch.js';
import type { KeyedStep, OpenKeyedStep, StepContext } from '../../src/stream/pipeline/pipeline.js';
import { hash32, hash53, KeyIndex } from '../../src/stream/state/key-index.js';
import { makeColumns } from '../../src/stream/state/layout.js';

export interface ReplayedPayment {
  readonly occurredAt: number;
  readonly cardId: string;
  readonly merchantId: string;
  readonly amountMinor: number;
}

export type CardStep = KeyedStep<PaymentBatch, typeof cardState.fields>;

/** The detector's keyed steps in their order; expired card tests are told to nobody. */
export const CARD_STEPS: readonly CardStep[] = [
  cardPatterns(() => DEFAULT_PATTERN_PARAMETERS, { onExpired: () => {} }),
  cardFeatures,
  rememberPayment,
];

const CONTEXT: StepContext = {
  taskId: 'replay-0',
  source: { topic: 'replay', partition: 0 },
  clock: { now: () => 0, monotonic: () => 0, schedule: () => () => {} },
  count: () => {},
};

export class CardReplay {
  readonly batch: PaymentBatch;
  private readonly columns: CardColumns;
  private readonly cards: KeyIndex;
  private readonly steps: readonly OpenKeyedStep<PaymentBatch>[];
  private readonly text = Buffer.alloc(256);
  private cardCount = 0;
  private offset = 0;

  /** `maxCards` bounds memory (about 1.3 KB a card); one more card is an error. */
  constructor(maxCards: number, batchSize: number, steps: readonly CardStep[] = CARD_STEPS) {
    this.batch = new PaymentBatch(batchSize, FEATURE_COUNT);
    this.columns = makeColumns(cardState, maxCards);
    this.cards = new KeyIndex(maxCards);
    this.steps = steps.map((step) => step.open(CONTEXT, this.columns));
  }

  /** Puts a payment into the batch's next row; false where the batch is full and must be run first. */
  add(payment: ReplayedPayment, merchantRisk: number): boolean {
    const { batch, text } = this;
    const row = batch.count;
    if (row === batch.capacity) return false;
    const merchantLength = text.write(payment.merchantId);
    batch.merchantHash[row] = hash53(text, 0, merchantLength);
    batch.slot[row] = this.slotOf(payment.cardId);
    batch.eventTimeMs[row] = payment.occurredAt;
    batch.amountMinor[row] = payment.amountMinor;
    batch.merchantRisk[row] = merchantRisk;
    batch.country[row] = 0;
    batch.latitude[row] = Number.NaN;
    batch.longitude[row] = Number.NaN;
    batch.recordIndex[row] = row;
    batch.records.offset[row] = this.offset++;
    batch.count = row + 1;
    return true;
  }

  /** Runs the steps over the rows, one row after the other. */
  run(): void {
    const { batch, steps } = this;
    for (let row = 0; row < batch.count; row++) {
      for (let i = 0; i < steps.length; i++) steps[i].apply(batch, row, batch.slot[row]);
    }
  }

  private slotOf(cardId: string): number {
    const { cards, text } = this;
    const length = text.write(cardId);
    const hash = hash32(text, 0, length);
    const known = cards.find(text, 0, length, hash);
    if (known >= 0) return known;
    if (this.cardCount === cards.capacity) throw new RangeError(`more than ${cards.capacity} cards: raise --max-cards`);
    cards.insert(this.cardCount, text, 0, length, hash);
    return this.cardCount++;
  }
}
