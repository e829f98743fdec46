/**
 * Owns the memory of answers: merchant bytes to risk, in typed-array slots with clock eviction and expiry. A hit makes
 * no string and no object. Neighbours: `lookups.ts` fills it, `merchant-risk.ts` reads it by slot.
 * Memory: about 90 bytes a slot, 6 MiB at the default of 65,536.
 */
import { KeyIndex } from '../../stream/state/key-index.js';

/** What an answer said. `unknown`: the service knows no such merchant. `failed`: there was no answer. */
export const ANSWER = { known: 1, unknown: 2, failed: 3 } as const;
export type AnswerKind = (typeof ANSWER)[keyof typeof ANSWER];

export class RiskCache {
  readonly kind: Uint8Array;
  /** 0 to 1; 0 unless known. */
  readonly risk: Float64Array;
  /** ms since 1970; 0 unless known. */
  readonly asOfMs: Float64Array;
  private readonly expiresAt: Float64Array;
  private readonly used: Uint8Array;
  private readonly index: KeyIndex;
  private filled = 0;
  private hand = 0;

  constructor(private readonly capacity: number) {
    this.index = new KeyIndex(capacity);
    this.kind = new Uint8Array(capacity);
    this.used = new Uint8Array(capacity);
    this.risk = new Float64Array(capacity);
    this.asOfMs = new Float64Array(capacity);
    this.expiresAt = new Float64Array(capacity);
  }

  get size(): number {
    return this.filled;
  }

  /** The slot of an answer that still holds, or -1. Valid until the next `put`. */
  find(bytes: Uint8Array, start: number, length: number, hash: number, nowMs: number): number {
    const slot = this.index.find(bytes, start, length, hash);
    if (slot < 0 || nowMs >= this.expiresAt[slot]) return -1;
    this.used[slot] = 1;
    return slot;
  }

  /** Keeps an answer until `expiresAtMs`, in place of an older one for the same merchant or of one little used. */
  put(key: Uint8Array, hash: number, kind: AnswerKind, risk: number, asOfMs: number, expiresAtMs: number): void {
    // Switched off: there is no slot to give, nor one to take.
    if (this.capacity === 0) return;
    let slot = this.index.find(key, 0, key.length, hash);
    if (slot < 0) {
      slot = this.filled < this.capacity ? this.filled++ : this.evict();
      this.index.insert(slot, key, 0, key.length, hash);
      // Starts as not used: a merchant seen once gives way before one seen again.
      this.used[slot] = 0;
    }
    this.kind[slot] = kind;
    this.risk[slot] = risk;
    this.asOfMs[slot] = asOfMs;
    this.expiresAt[slot] = expiresAtMs;
  }

  /** Frees the next slot not used since the hand last passed (Corbató's clock). */
  private evict(): number {
    for (;;) {
      const slot = this.hand;
      this.hand = slot + 1 === this.capacity ? 0 : slot + 1;
      if (this.used[slot] === 0) {
        this.index.remove(slot);
        return slot;
      }
      this.used[slot] = 0;
    }
  }
}
