/**
 * Owns exponential decay in event time. Neighbours: `remember-payment.ts` decays what it writes,
 * `../features/card-features.ts` what it reads; both must use one formula.
 */

const DAY_MS = 86_400_000;
export const HALF_LIFE_7D_MS = 7 * DAY_MS;
export const HALF_LIFE_30D_MS = 30 * DAY_MS;

/**
 * Weight left after `elapsedMs` (0 or more): one half for each half-life.
 * By `Math.exp`, which V8 computes in software (fdlibm): the same bits on every processor, so replays agree.
 */
export function decayWeight(elapsedMs: number, halfLifeMs: number): number {
  return Math.exp((-Math.LN2 * elapsedMs) / halfLifeMs);
}
