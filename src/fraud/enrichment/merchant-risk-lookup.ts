/**
 * Owns the port to whatever knows merchants' risk. Adapters stand behind it (`adapters/merchant-risk-http`);
 * `merchant-risk.ts` calls it within its bounds.
 */
import { StreamError } from '../../stream/errors.js';

export interface MerchantRisk {
  /** 0 to 1. */
  readonly risk: number;
  /** Since when the risk is known to hold, ms since 1970. */
  readonly asOfMs: number;
}

export interface MerchantRiskLookup {
  /**
   * The merchant's risk. Must settle soon after `signal` aborts: it no longer counts as in flight from then on.
   * Errors: {@link MerchantUnknownError} where the service answers that it knows no such merchant, which is no failure
   * of the service; anything else is one.
   */
  lookup(merchantId: string, signal: AbortSignal): Promise<MerchantRisk>;
}

/** The service answered, and knows no such merchant. */
export class MerchantUnknownError extends StreamError {
  constructor(merchantId: string) {
    super('merchant-unknown', `the merchant-risk service knows no merchant ${JSON.stringify(merchantId.slice(0, 64))}`);
  }
}

/** Whether a lookup's answer is one: adapters check theirs, the step trusts no adapter. */
export function isMerchantRisk(answer: unknown): answer is MerchantRisk {
  if (typeof answer !== 'object' || answer === null) return false;
  const { risk, asOfMs } = answer as Partial<Record<keyof MerchantRisk, unknown>>;
  return (
    typeof risk === 'number' && risk >= 0 && risk <= 1 && typeof asOfMs === 'number' && asOfMs >= 0 && asOfMs < 2 ** 53
  );
}
