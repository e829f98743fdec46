/**
 * Owns the velocity-burst pattern: many payments of a card in a short time. Stateless beyond the ring.
 * Neighbours: `card-patterns.ts` runs this, `remembered-payments.ts` reads the ring.
 */
import type { PatternFinding } from '../alerts/alert.js';
import type { CardColumns } from '../cards/state.js';
import type { PatternParameters } from './pattern-parameters.js';
import { countBetween, paymentsBetween } from './remembered-payments.js';

export type VelocityBurstFinding = Extract<PatternFinding, { pattern: 'velocity-burst' }>;

/** Payments in (timeMs − withinMs, timeMs], the one at `timeMs` included that the card does not remember yet. At most 33. */
export function countBurst(card: CardColumns, slot: number, timeMs: number, withinMs: number): number {
  return 1 + countBetween(card, slot, timeMs - withinMs + 1, timeMs);
}

/** What there is to tell of a burst. `matched` leaves out the payment at hand. */
export function describeBurst(
  parameters: PatternParameters['velocityBurst'],
  card: CardColumns,
  slot: number,
  timeMs: number,
  count: number,
): VelocityBurstFinding {
  const { withinMs } = parameters;
  const matched = paymentsBetween(card, slot, timeMs - withinMs + 1, timeMs);
  return { pattern: 'velocity-burst', count, windowMs: withinMs, matched };
}
