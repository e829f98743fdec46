/**
 * Owns enrichment where no merchant-risk service is configured: the broadcast risk table alone. That is not degraded,
 * it is the configuration; a merchant that the table lacks has risk 0 and source `none`.
 */
import type { EnrichStep, OpenEnrichStep } from '../../stream/pipeline/pipeline.js';
import { hash32 } from '../../stream/state/key-index.js';
import { type PaymentBatch, RISK_SOURCE } from '../payments/payment-batch.js';
import type { RiskTable, RiskTableStep } from './risk-table.js';

class OpenRiskFromTable implements OpenEnrichStep<PaymentBatch> {
  constructor(private readonly table: () => RiskTable) {}

  prepare(batch: PaymentBatch): null {
    const table = this.table();
    for (let row = 0; row < batch.count; row++) {
      const bytes = batch.textBytes(row);
      const start = batch.merchantStart[row];
      const length = batch.merchantLength[row];
      const found = table.find(bytes, start, length, hash32(bytes, start, length));
      const known = found >= 0;
      batch.merchantRisk[row] = known ? table.risk(found) : 0;
      batch.riskAsOfMs[row] = known ? table.asOfMs(found) : 0;
      batch.riskSource[row] = known ? RISK_SOURCE.riskTable : RISK_SOURCE.none;
      batch.degraded[row] = 0;
    }
    return null;
  }
}

export function riskFromTable(riskTable: RiskTableStep): EnrichStep<PaymentBatch> {
  return {
    kind: 'enrich',
    id: 'merchant-risk',
    open: (context) => new OpenRiskFromTable(() => riskTable.tableOf(context.taskId)),
  };
}
