/**
 * Owns questions to the ring of a card's last payments that more than one pattern asks. Entries lie in order of
 * arrival, so that each question looks at all of them (at most 32) unless the card's latest payment is too old.
 */
import type { MatchedPayment } from '../alerts/alert.js';
import type { CardColumns } from '../cards/state.js';

/** Remembered payments with an event time in [fromMs, toMs]. */
export function countBetween(card: CardColumns, slot: number, fromMs: number, toMs: number): number {
  if (card.lastOccurredAt[slot] < fromMs) return 0;
  const { recent } = card;
  const { occurredAt } = recent.entry;
  const first = slot * recent.field.size;
  let count = 0;
  for (let i = first, end = first + recent.length(slot); i < end; i++) {
    if (occurredAt[i] >= fromMs && occurredAt[i] <= toMs) count++;
  }
  return count;
}

/** Those of them of at most `maxAmountMinor`, by event time; equal times in order of arrival. Allocates: for findings only. */
export function paymentsBetween(
  card: CardColumns,
  slot: number,
  fromMs: number,
  toMs: number,
  maxAmountMinor = Infinity,
): MatchedPayment[] {
  const { recent } = card;
  const { occurredAt, amountMinor, sourceOffset } = recent.entry;
  const found: MatchedPayment[] = [];
  for (let back = recent.length(slot) - 1; back >= 0; back--) {
    const i = recent.newest(slot, back);
    if (occurredAt[i] < fromMs || occurredAt[i] > toMs || amountMinor[i] > maxAmountMinor) continue;
    found.push({ occurredAt: occurredAt[i], amountMinor: amountMinor[i], sourceOffset: sourceOffset[i] });
  }
  return found.sort((a, b) => a.occurredAt - b.occurredAt);
}
