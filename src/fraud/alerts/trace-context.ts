/**
 * Owns the trace that an alert belongs to: W3C Trace Context Level 1 on Kafka headers, and the same as the Distributed
 * Tracing extension of CloudEvents. Neighbours: `emit-alerts.ts` reads it from the payment's record, `encode-alert.ts`
 * writes it.
 *
 * TC1 Nothing here is random: the same payment and alert id give the same bytes after every replay (I6).
 * TC2 Only a payment that makes an alert has its headers parsed.
 */
import { createHash } from 'node:crypto';
import type { RecordBatch, RecordHeader } from '../../stream/records.js';

/** The values of the two headers. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate: string | null;
}

const VERSION = '00';
/** A later version may carry more behind another dash; version 00 may not. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const TRACEPARENT_BYTES = 512;
/** What the recommendation asks everybody to pass on at least; longer ones are left out whole. */
const TRACESTATE_BYTES = 512;
const TRACESTATE_MEMBERS = 32;
const TRACESTATE_MEMBER =
  /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
/** Not sampled: no span of ours is recorded anywhere, so nobody is asked to record on our account. */
const NO_FLAGS = '00';

/** The payment's own trace, from its record; null where it has no valid one. */
export function paymentTrace(records: RecordBatch, index: number): TraceContext | null {
  return readTrace(records.headers(index));
}

function readTrace(headers: readonly RecordHeader[]): TraceContext | null {
  const parents = headers.filter(([name]) => name.toLowerCase() === 'traceparent');
  // Two of them leave it open which is meant; the recommendation has them all ignored.
  if (parents.length !== 1 || parents[0][1].length > TRACEPARENT_BYTES) return null;
  const traceparent = parents[0][1].toString('latin1');
  if (parseParent(traceparent) === null) return null;
  const states = headers.filter(([name]) => name.toLowerCase() === 'tracestate');
  return { traceparent, tracestate: validState(states.map(([, value]) => value.toString('latin1')).join(',')) };
}

/**
 * The alert's place in the trace: a span of its own, whose id follows from the alert's. Without a payment's trace the
 * alert begins one, whose id is the alert's id, so that either finds the other.
 */
export function alertTrace(alertId: string, payment: TraceContext | null): TraceContext {
  const spanId = createHash('sha256').update(`span\n${alertId}`).digest('hex').slice(0, 16);
  const parent = payment === null ? null : parseParent(payment.traceparent);
  if (parent === null) return { traceparent: `${VERSION}-${alertId}-${spanId}-${NO_FLAGS}`, tracestate: null };
  return {
    traceparent: `${VERSION}-${parent.traceId}-${spanId}-${parent.flags}`,
    tracestate: payment?.tracestate ?? null,
  };
}

function parseParent(traceparent: string): { readonly traceId: string; readonly flags: string } | null {
  const match = TRACEPARENT.exec(traceparent);
  if (match === null) return null;
  const [, version, traceId, parentId, flags, rest] = match;
  if (version === 'ff' || (version === VERSION && rest !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return null;
  // Of the flags only `sampled` is defined; the others must be zero in what we write.
  return { traceId, flags: Number.parseInt(flags, 16) % 2 === 1 ? '01' : '00' };
}

function validState(tracestate: string): string | null {
  if (Buffer.byteLength(tracestate) > TRACESTATE_BYTES) return null;
  const members = tracestate.split(/[ \t]*,[ \t]*/).filter((member) => member !== '');
  if (members.length === 0 || members.length > TRACESTATE_MEMBERS) return null;
  const keys = new Set(members.map((member) => member.slice(0, member.indexOf('='))));
  if (keys.size !== members.length || !members.every((member) => TRACESTATE_MEMBER.test(member.trim()))) return null;
  return members.map((member) => member.trim()).join(',');
}
