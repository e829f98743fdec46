/**
 * Owns the risk that the simulated card world gives its merchants: a pure function of the merchant's id, so that the
 * world, the merchant-risk service and a test agree without talking to each other.
 */
import { hash32 } from '../../stream/state/key-index.js';

/**
 * u = FNV-1a-32(merchantId) mod 1000 / 1000 is spread evenly over 0..0.999; the risk is u³ rounded to 3 decimals. So
 * half of all merchants lie under 0.125, four in five under 0.512, and one in thirty over 0.9.
 */
export function worldMerchantRisk(merchantId: string): number {
  const bytes = Buffer.from(merchantId, 'utf8');
  const u = ((hash32(bytes, 0, bytes.length) >>> 0) % 1000) / 1000;
  return Math.round(u * u * u * 1000) / 1000;
}
