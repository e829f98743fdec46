/**
 * Owns the merchants' risk of the proof: a pure function of the merchant's id, so that the merchant-risk service and the
 * reference agree without talking to each other. Neighbours: `setting-up.ts` serves it, `reference.ts` computes it.
 */
import { worldMerchantRisk } from '../../src/fraud/world/merchant-risk.js';

/**
 * 0 to 1. The card world's risks are spread so evenly that every sixth payment would be an alert; raised to this power,
 * some merchants in a hundred are risky, as they are in life.
 */
export function provenMerchantRisk(merchantId: string): number {
  return worldMerchantRisk(merchantId) ** 20;
}
