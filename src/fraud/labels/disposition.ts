/**
 * Owns what an analyst can find an alert to be, and why: dispositions and their reason codes. Neighbours: `label.ts`
 * publishes them, `../cases/alert-work.ts` closes alerts with them, docs/ANALYST-API.md explains the codes.
 */

export const DISPOSITIONS = ['fraud', 'legitimate', 'inconclusive'] as const;
export type Disposition = (typeof DISPOSITIONS)[number];

/** A code is only ever added: labels that were published keep theirs. */
export const REASON_CODES = {
  fraud: [
    'card-stolen',
    'card-counterfeit',
    'card-not-present',
    'card-testing',
    'account-takeover',
    'merchant-fraud',
    'first-party-fraud',
    'other-fraud',
  ],
  legitimate: [
    'customer-confirmed',
    'usual-behaviour',
    'travel',
    'merchant-known',
    'rule-too-strict',
    'data-error',
    'other-legitimate',
  ],
  inconclusive: ['customer-unreachable', 'too-little-evidence', 'duplicate-alert', 'other-inconclusive'],
} as const satisfies Readonly<Record<Disposition, readonly string[]>>;

export type ReasonCode = (typeof REASON_CODES)[Disposition][number];

export const ALL_REASON_CODES: readonly ReasonCode[] = DISPOSITIONS.flatMap(
  (disposition): readonly ReasonCode[] => REASON_CODES[disposition],
);
