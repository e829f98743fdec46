/**
 * Owns the form in which what came out, and what must come out, are compared: alerts by id, dead letters by source
 * place, a card's state as text. Neighbours: `reference.ts` computes outcomes, `outputs.ts` reads them from topics,
 * `state-follower.ts` from the state log, `compare.ts` compares.
 */
import { createHash } from 'node:crypto';
import { type LayoutFields, RingColumns, TimerColumn } from '../../src/stream/state/layout.js';

/** One alert, as far as every run must agree on it. */
export interface AlertOutcome {
  readonly id: string;
  /** For people: decision, deciding rule, score, card. */
  readonly summary: string;
  /** Of the whole alert with its evidence, but for the fields that tell of the run itself. */
  readonly digest: string;
  readonly rule: string;
  readonly decision: string;
  /** Nobody answered the lookup of the merchant's risk: results then differ by no fault of the core. */
  readonly degraded: boolean;
}

export interface DeadLetterOutcome {
  readonly partition: number;
  readonly offset: number;
  readonly code: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

interface AlertJson {
  readonly alertId: string;
  readonly cardId: string;
  readonly decision: string;
  readonly score: number | null;
  readonly detectedAt: number;
  readonly rules: readonly { readonly id: string }[];
  readonly evidence: {
    readonly enrichment: { readonly asOf: number | null; readonly source: string; readonly degraded: boolean } | null;
  };
}

/** Reads an alert's JSON value. Throws where it is none: a broken alert is nothing to compare. */
export function alertOutcome(value: Buffer): AlertOutcome {
  const alert = JSON.parse(value.toString('utf8')) as AlertJson;
  const { alertId, cardId, decision, score, evidence } = alert;
  const rule = alert.rules[0].id;
  // When it was detected, and whether the risk came from the service or a cache, differs from run to run.
  const enrichment = evidence.enrichment === null ? null : { ...evidence.enrichment, asOf: null, source: '' };
  const lasting = { ...alert, detectedAt: 0, evidence: { ...evidence, enrichment } };
  return {
    id: alertId,
    summary: `${decision} by ${rule}, score ${score}, card ${cardId}`,
    digest: createHash('sha256').update(JSON.stringify(lasting)).digest('hex').slice(0, 24),
    rule,
    decision,
    degraded: enrichment?.degraded ?? false,
  };
}

/** Everything that is remembered of the key in `slot`, as text. Floats are told exactly. */
export function describeState(fields: LayoutFields, columns: Readonly<Record<string, unknown>>, slot: number): string {
  const parts: string[] = [];
  for (const name of Object.keys(fields)) {
    const column = columns[name];
    if (column instanceof RingColumns) parts.push(`${name}=${describeRing(column, slot)}`);
    else if (column instanceof TimerColumn) parts.push(`${name}=${column.due[slot]}`);
    else parts.push(`${name}=${(column as ArrayLike<number>)[slot]}`);
  }
  return parts.join(' ');
}

function describeRing(ring: RingColumns, slot: number): string {
  const entries: string[] = [];
  for (let back = ring.length(slot) - 1; back >= 0; back--) {
    const at = ring.newest(slot, back);
    entries.push(
      Object.values(ring.entry)
        .map((column) => String(column[at]))
        .join('/'),
    );
  }
  return `${ring.total[slot]}[${entries.join(',')}]`;
}
