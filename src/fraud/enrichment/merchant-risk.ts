/**
 * Owns the enrichment of payments by their merchant's risk. Rows whose merchant is cached are filled at once; the
 * others wait for the lookups of their batch, within its time budget, and fall back to the risk table where those fail.
 * Neighbours: `lookups.ts` calls the service, `risk-cache.ts` and `risk-table.ts` hold what is known.
 *
 * Invariants
 * 1. `prepare` never rejects, and settles within `timeoutMs`; it is null where no row has to wait.
 * 2. Results go to the rows of the batch that asked, from the lookup itself and not from a cache slot. A batch prepared
 *    anew before an older preparation settled (recovery) is not written by the older one.
 * 3. `degraded` is 1 exactly where the service should have been asked and did not answer.
 *
 * Measured: 60 ns a row where all merchants are cached.
 *
 * Counters: `enrich.lookups` calls made · `enrich.cacheHits` rows answered from the cache · `enrich.timeouts` lookups
 * past their deadline · `enrich.failures` lookups that failed otherwise · `enrich.degraded` rows with `degraded` ·
 * `enrich.breakerOpen` times the circuit breaker opened.
 */
import type { EnrichStep, OpenEnrichStep, StepContext } from '../../stream/pipeline/pipeline.js';
import { hash32 } from '../../stream/state/key-index.js';
import { type PaymentBatch, RISK_SOURCE } from '../payments/payment-batch.js';
import { BREAKER_DEFAULTS, type BreakerSettings } from './circuit-breaker.js';
import { type Asker, type LookupSettings, MerchantLookups, type PendingLookup } from './lookups.js';
import type { MerchantRiskLookup } from './merchant-risk-lookup.js';
import { ANSWER } from './risk-cache.js';
import type { RiskTable, RiskTableStep } from './risk-table.js';

export const MERCHANT_RISK_DEFAULTS: LookupSettings = {
  timeoutMs: 2_000,
  inFlight: 500,
  waiting: 10_000,
  cacheEntries: 65_536,
  expiryMs: 10 * 60_000,
  unknownExpiryMs: 60_000,
  failedExpiryMs: 5_000,
  breaker: BREAKER_DEFAULTS,
};

export type MerchantRiskOptions = Partial<Omit<LookupSettings, 'breaker'>> & {
  readonly breaker?: Partial<BreakerSettings>;
};

/**
 * The step. Cache, breaker and bounds belong to the returned value, so one value a thread serves all its tasks, which
 * then share lookups.
 */
export function merchantRisk(
  lookup: MerchantRiskLookup,
  riskTable: RiskTableStep,
  options: MerchantRiskOptions = {},
): EnrichStep<PaymentBatch> {
  const lookups = new MerchantLookups(lookup, {
    ...MERCHANT_RISK_DEFAULTS,
    ...options,
    breaker: { ...BREAKER_DEFAULTS, ...options.breaker },
  });
  return {
    kind: 'enrich',
    id: 'merchant-risk',
    open: (context) => new OpenMerchantRisk(context, lookups, riskTable),
  };
}

class OpenMerchantRisk implements OpenEnrichStep<PaymentBatch> {
  /** The newest preparation of each batch object, for invariant 2; null where it had nothing to wait for. */
  private readonly newest = new WeakMap<PaymentBatch, Preparation | null>();

  constructor(
    private readonly context: StepContext,
    private readonly lookups: MerchantLookups,
    private readonly riskTable: RiskTableStep,
  ) {}

  prepare(batch: PaymentBatch): Promise<void> | null {
    const { context, lookups } = this;
    const { cache } = lookups;
    const table = this.riskTable.tableOf(context.taskId);
    const nowMs = context.clock.monotonic();
    let asker: Asker | null = null;
    const askerOf = () => {
      asker ??= lookups.asker(context);
      return asker;
    };
    let preparation: Preparation | null = null;
    let hits = 0;
    let degraded = 0;
    for (let row = 0; row < batch.count; row++) {
      const bytes = batch.textBytes(row);
      const start = batch.merchantStart[row];
      const length = batch.merchantLength[row];
      const hash = hash32(bytes, start, length);
      const slot = cache.find(bytes, start, length, hash, nowMs);
      if (slot >= 0) {
        hits += 1;
        const kind = cache.kind[slot];
        if (kind === ANSWER.known) {
          setRisk(batch, row, cache.risk[slot], cache.asOfMs[slot], RISK_SOURCE.cache);
        } else {
          degraded += fallBack(batch, row, table, table.find(bytes, start, length, hash), kind);
        }
        continue;
      }
      const pending = lookups.mayAnswer(nowMs)
        ? lookups.ask(bytes.toString('utf8', start, start + length), hash, nowMs, askerOf)
        : null;
      if (pending === null) {
        degraded += fallBack(batch, row, table, table.find(bytes, start, length, hash), ANSWER.failed);
        continue;
      }
      preparation ??= new Preparation(() => this.finish(batch, preparation));
      preparation.wait(row, pending);
    }
    this.newest.set(batch, preparation);
    if (hits > 0) context.count('enrich.cacheHits', hits);
    if (degraded > 0) context.count('enrich.degraded', degraded);
    return preparation === null ? null : preparation.done;
  }

  /** Writes the answers that a batch waited for to its rows. */
  private finish(batch: PaymentBatch, preparation: Preparation | null): void {
    if (preparation === null || this.newest.get(batch) !== preparation) return;
    const table = this.riskTable.tableOf(this.context.taskId);
    let degraded = 0;
    for (let i = 0; i < preparation.rows.length; i++) {
      const { kind, risk, asOfMs, key, hash } = preparation.lookups[i];
      const row = preparation.rows[i];
      if (kind === ANSWER.known) setRisk(batch, row, risk, asOfMs, RISK_SOURCE.lookup);
      else degraded += fallBack(batch, row, table, table.find(key, 0, key.length, hash), kind);
    }
    if (degraded > 0) this.context.count('enrich.degraded', degraded);
  }
}

/** The rows of one batch that wait, each with its lookup. */
class Preparation {
  readonly rows: number[] = [];
  readonly lookups: PendingLookup[] = [];
  readonly done: Promise<void>;
  private unsettled = 0;
  private readonly awaited = new Set<PendingLookup>();
  private readonly settledOne: () => void;

  constructor(finish: () => void) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.settledOne = () => {
      this.unsettled -= 1;
      if (this.unsettled > 0) return;
      finish();
      resolve();
    };
  }

  wait(row: number, pending: PendingLookup): void {
    this.rows.push(row);
    this.lookups.push(pending);
    if (this.awaited.has(pending)) return;
    this.awaited.add(pending);
    this.unsettled += 1;
    pending.listeners.push(this.settledOne);
  }
}

function setRisk(batch: PaymentBatch, row: number, risk: number, asOfMs: number, source: number): void {
  batch.merchantRisk[row] = risk;
  batch.riskAsOfMs[row] = asOfMs;
  batch.riskSource[row] = source;
  batch.degraded[row] = 0;
}

/** Fills a row from the risk table, or with "none"; returns 1 where that is degraded: nobody answered, where `unknown` was an answer. */
function fallBack(batch: PaymentBatch, row: number, table: RiskTable, entry: number, kind: number): 0 | 1 {
  if (entry >= 0) setRisk(batch, row, table.risk(entry), table.asOfMs(entry), RISK_SOURCE.riskTable);
  else setRisk(batch, row, 0, 0, RISK_SOURCE.none);
  if (kind === ANSWER.unknown) return 0;
  batch.degraded[row] = 1;
  return 1;
}
