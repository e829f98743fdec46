/**
 * Owns the payments of the rules proof: a paced stream, among it marked payments, which every rule set of the proof must
 * alert of. Neighbours: `proof.ts` starts it, `check.ts` knows which were marked.
 */
import { encodePayment } from '../../../src/fraud/payments/encode-json.js';
import type { CardId, MerchantId, Payment, PaymentId } from '../../../src/fraud/payments/payment.js';
import { Random } from '../../../src/fraud/world/random.js';
import type { RecordWriter } from '../../../src/stream/ports.js';
import type { OutputRecord } from '../../../src/stream/records.js';

/** The amount that marks a payment; no other payment has it. */
export const MARKED_AMOUNT_MINOR = 77_777;
const MARKED_EVERY = 100;
const CARDS = 50_000;
const MERCHANTS = 500;
const TICK_MS = 25;

export class PacedPayments {
  /** Of the marked ones, in the order they were written. */
  readonly marked: string[] = [];
  written = 0;
  private stopping = false;
  private readonly running: Promise<void>;
  /** How far behind its pace it was at worst, ms. */
  worstLagMs = 0;

  constructor(
    private readonly writer: RecordWriter,
    private readonly topic: string,
    private readonly perSecond: number,
    private readonly random: Random,
  ) {
    this.running = this.run();
    this.running.catch(() => {}); // told by `stop`
  }

  /** Resolves when the last payment is durable. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  private async run(): Promise<void> {
    const startedAt = performance.now();
    while (!this.stopping) {
      const elapsedMs = performance.now() - startedAt;
      const due = Math.floor((elapsedMs * this.perSecond) / 1_000) - this.written;
      if (due > 0) {
        await this.writer.write(Array.from({ length: due }, () => this.next()));
        this.worstLagMs = Math.max(this.worstLagMs, performance.now() - startedAt - elapsedMs);
      }
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  private next(): OutputRecord {
    const number = this.written++;
    const isMarked = number % MARKED_EVERY === 0;
    const payment: Payment = {
      paymentId: `p-${number}` as PaymentId,
      cardId: `card-${this.random.whole(0, CARDS - 1)}` as CardId,
      merchantId: `merchant-${this.random.whole(0, MERCHANTS - 1)}` as MerchantId,
      amountMinor: isMarked ? MARKED_AMOUNT_MINOR : this.random.whole(100, 9_000),
      currency: 'EUR',
      occurredAt: Date.now(),
      channel: 'ecom',
    };
    if (isMarked) this.marked.push(payment.paymentId);
    return {
      topic: this.topic,
      key: Buffer.from(payment.cardId),
      value: encodePayment(payment),
      headers: [],
      timestampMs: payment.occurredAt,
    };
  }
}
