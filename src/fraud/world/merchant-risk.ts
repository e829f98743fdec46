/**
 * Owns the risk that the simulated card world gives its merchants: a pure function of the merchant's id, so that the
 * world, the merchant-risk service and a test agree without talking to each other. It is such a figure as the shipped
 * model was trained with: a merchant's smoothed share of fraud, next to nothing but for the compromised.
 */
import { hash32 } from '../../stream/state/key-index.js';
import { mix32 } from './random.js';

/** How many merchants are compromised. */
const COMPROMISED_SHARE = 0.015;
/** From here on a merchant is a compromised one; no other comes near. */
export const COMPROMISED_FROM = 0.15;
const COMPROMISED_TO = 0.9;
const USUAL_MAX = 0.02;

/**
 * u = mix32(FNV-1a-32(merchantId)) / 2³² is spread evenly over 0 to 1. Under 0.015 it gives a compromised merchant, of a
 * risk spread evenly over 0.15 to 0.9; the others' is 0.02 v³, v being the rest of u spread over 0 to 1 again: half of
 * them lie under 0.0025. Rounded to 4 decimals.
 */
export function worldMerchantRisk(merchantId: string): number {
  const bytes = Buffer.from(merchantId, 'utf8');
  const u = mix32(hash32(bytes, 0, bytes.length)) / 2 ** 32;
  const risk =
    u < COMPROMISED_SHARE
      ? COMPROMISED_FROM + (COMPROMISED_TO - COMPROMISED_FROM) * (u / COMPROMISED_SHARE)
      : USUAL_MAX * ((u - COMPROMISED_SHARE) / (1 - COMPROMISED_SHARE)) ** 3;
  return Math.round(risk * 10_000) / 10_000;
}
