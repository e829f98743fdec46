/**
 * Owns what is remembered of a card: the state layout of the keyed steps. Written by `features/card-features.ts`,
 * `patterns/*` and `cards/remember-payment.ts`, each its own fields; the stream core stores, replays and migrates it.
 */
import { type ColumnsOf, f32, f64, ring, stateLayout, timer, u8, u16, u32 } from '../../stream/state/layout.js';

/** In place of a source offset: the payment's record lies in another partition than the card's present one. */
export const UNKNOWN_OFFSET = -1;

export const cardState = stateLayout(
  'card',
  {
    version: 1,
    moved: ({ recent }, slot) => {
      const first = slot * recent.field.size;
      recent.entry.sourceOffset.fill(UNKNOWN_OFFSET, first, first + recent.field.size);
    },
  },
  {
    /** Lifetime figures. */
    paymentCount: u32,
    amountSumMinor: f64,
    lastOccurredAt: f64,
    /** Exponentially decayed count and amount with half-lives of 7 and 30 days, as of `lastOccurredAt`. */
    decayedCount7d: f64,
    decayedAmount7d: f64,
    decayedCount30d: f64,
    decayedAmount30d: f64,
    /** The last payment with coordinates: when and where. Degrees; `lastLocatedAt` 0 is never. */
    lastLocatedAt: f64,
    lastLatitude: f32,
    lastLongitude: f32,
    /** The last payment with a country, which need not be the same one. 0 is never. */
    lastCountryAt: f64,
    lastCountry: u16,
    /** Card-testing sequence: its stage, small payments seen, the first one's time, and the timer that lets it expire. */
    testingStage: u8,
    testingSmallCount: u8,
    testingStartedAt: f64,
    testingExpires: timer,
    /** The last payments, newest last. `sourceOffset` tells which record it was, for evidence; it may be unknown. */
    recent: ring(32, { occurredAt: f64, amountMinor: f64, merchant: f64, sourceOffset: f64 }),
  },
);

export type CardColumns = ColumnsOf<typeof cardState.fields>;
