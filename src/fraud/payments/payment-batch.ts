/**
 * Owns the columns of a batch of payments. The decoder fills the payment's own, enrichment the merchant's risk, keyed
 * steps the features and pattern findings, scoring the score. Every field of a payment is here, as a number or as the
 * place of its bytes: rules read no record again, alerts alone do. Neighbours: every step of `../pipeline.ts`.
 */
import { StepBatch } from '../../stream/pipeline/batch.js';
import type { PatternFinding } from '../alerts/alert.js';

/** `riskSource` values: how the merchant's risk came to be known. */
export const RISK_SOURCE = { none: 0, lookup: 1, cache: 2, riskTable: 3 } as const;

/** Bits of `findings`: what the patterns saw at this payment. */
export const FINDING = { cardTesting: 1, velocityBurst: 2, impossibleTravel: 4 } as const;

/** Where the codes lie in `kind`: `(kind >>> shift) & mask`. */
export const KIND = {
  status: { shift: 0, mask: 0xf },
  channel: { shift: 4, mask: 0xf },
  mcc: { shift: 8, mask: 0x3fff },
} as const;

export class PaymentBatch extends StepBatch {
  readonly amountMinor: Float64Array;
  /** Places of the ids in `textBytes(row)`; the card is the key (`keyStart`, `keyLength`). */
  readonly merchantStart: Int32Array;
  readonly merchantLength: Int32Array;
  readonly paymentIdStart: Int32Array;
  readonly paymentIdLength: Int32Array;
  /** Row-major, 4 a row: start and length of the device, start and length of the IP address; length 0 where absent. */
  readonly deviceAndIp: Int32Array;
  /** `hash53` of the merchant's id, for equality in state. */
  readonly merchantHash: Float64Array;
  /** Texts as the numbers of `text-codes.ts`; 0 where absent. */
  readonly country: Uint16Array;
  readonly currency: Uint32Array;
  /** Merchant category, channel and status, packed as {@link KIND} says: one write a payment instead of three. */
  readonly kind: Uint32Array;
  /** Degrees; NaN where absent. */
  readonly latitude: Float64Array;
  readonly longitude: Float64Array;

  /** Enrichment. 0 to 1. */
  readonly merchantRisk: Float64Array;
  readonly riskSource: Uint8Array;
  /** When the risk was known to hold, ms since 1970; 0 where unknown. */
  readonly riskAsOfMs: Float64Array;
  /** 1 where the lookup failed, timed out or was cut off, and a fallback stood in. */
  readonly degraded: Uint8Array;

  /** Model input, row-major: `capacity` × `featureCount`. */
  readonly features: Float32Array;
  /** Bits of {@link FINDING}. */
  readonly findings: Uint8Array;
  /** Card testing: small payments before the large one. Velocity burst: payments within its window. */
  readonly cardTestingSmallCount: Uint16Array;
  readonly velocityCount: Uint16Array;
  /** Impossible travel: speed needed since the card's last located payment, km/h; 0 where not known. */
  readonly travelSpeedKmh: Float64Array;
  readonly travelDistanceKm: Float64Array;
  /** What the patterns found, by row, with the payments that matched. Only rows with a finding are in it. */
  readonly matches = new Map<number, PatternFinding[]>();

  /** Model score, 0 to 1, rounded to 4 decimals. */
  readonly score: Float64Array;

  constructor(
    capacity: number,
    readonly featureCount: number,
  ) {
    super(capacity);
    const f64 = () => new Float64Array(capacity);
    this.amountMinor = f64();
    this.merchantStart = new Int32Array(capacity);
    this.merchantLength = new Int32Array(capacity);
    this.paymentIdStart = new Int32Array(capacity);
    this.paymentIdLength = new Int32Array(capacity);
    this.deviceAndIp = new Int32Array(capacity * 4);
    this.merchantHash = f64();
    this.country = new Uint16Array(capacity);
    this.currency = new Uint32Array(capacity);
    this.kind = new Uint32Array(capacity);
    this.latitude = f64();
    this.longitude = f64();
    this.merchantRisk = f64();
    this.riskSource = new Uint8Array(capacity);
    this.riskAsOfMs = f64();
    this.degraded = new Uint8Array(capacity);
    this.features = new Float32Array(capacity * featureCount);
    this.findings = new Uint8Array(capacity);
    this.cardTestingSmallCount = new Uint16Array(capacity);
    this.velocityCount = new Uint16Array(capacity);
    this.travelSpeedKmh = f64();
    this.travelDistanceKm = f64();
    this.score = f64();
  }

  override reset(): void {
    super.reset();
    if (this.matches.size > 0) this.matches.clear();
  }

  cardId(row: number): string {
    return this.textBytes(row).toString('utf8', this.keyStart[row], this.keyStart[row] + this.keyLength[row]);
  }

  merchantId(row: number): string {
    return this.textBytes(row).toString(
      'utf8',
      this.merchantStart[row],
      this.merchantStart[row] + this.merchantLength[row],
    );
  }

  paymentId(row: number): string {
    return this.textBytes(row).toString(
      'utf8',
      this.paymentIdStart[row],
      this.paymentIdStart[row] + this.paymentIdLength[row],
    );
  }
}
