/**
 * Owns the alert on the wire: a CloudEvents 1.0 event in Kafka binary content mode (attributes as `ce_` headers, the
 * alert as the JSON value, keyed by card). Neighbours: `emit-alerts.ts` sends it, `../cases/projector.ts` reads it,
 * `docs/ALERT-CONTRACT.md` promises it to others, `src/api/docs/asyncapi.ts` describes its headers.
 */
import { StreamError } from '../../stream/errors.js';
import { type Origin, originHeaders } from '../../stream/pipeline/origin.js';
import type { OutputRecord, RecordHeader } from '../../stream/records.js';
import { ALERT_EVENT_TYPE, type Alert } from './alert.js';
import { ALERT_SCHEMA_URN, alertSchema } from './alert-schema.js';
import { alertTrace, type TraceContext } from './trace-context.js';

/** A record of the alerts topic that holds no alert of this version. */
export class AlertUnreadableError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('alert-unreadable', message, options);
  }
}

const header = (name: string, value: string): RecordHeader => [name, Buffer.from(value, 'utf8')];

/**
 * The alert as a record. Its partition follows from the key, so a card's alerts stay in order. `payment` is the trace
 * of the payment that it was made for, where that has one; `origin` is where it came from, if a first stage keyed it.
 */
export function encodeAlert(
  alert: Alert,
  topic: string,
  payment: TraceContext | null = null,
  origin: Origin | null = null,
): OutputRecord {
  const { source } = alert.evidence;
  const { traceparent, tracestate } = alertTrace(alert.alertId, payment);
  return {
    topic,
    key: Buffer.from(alert.cardId, 'utf8'),
    value: Buffer.from(JSON.stringify(alert), 'utf8'),
    headers: [
      header('ce_specversion', '1.0'),
      header('ce_id', alert.alertId),
      header('ce_source', `/fraud-detection/${encodeURIComponent(source.topic)}/${source.partition}`),
      header('ce_type', ALERT_EVENT_TYPE),
      header('ce_time', new Date(alert.detectedAt).toISOString()),
      header('ce_subject', alert.paymentId ?? alert.cardId),
      header('ce_dataschema', ALERT_SCHEMA_URN),
      ...traceHeaders('traceparent', traceparent),
      ...(tracestate === null ? [] : traceHeaders('tracestate', tracestate)),
      header('content-type', 'application/json'),
      ...(origin === null ? [] : originHeaders(origin)),
    ],
    timestampMs: alert.detectedAt,
  };
}

/** For those who read CloudEvents, and for tracing agents, which look for the plain name. */
function traceHeaders(name: string, value: string): RecordHeader[] {
  return [header(`ce_${name}`, value), header(name, value)];
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Reads an alert back. Fields that this version does not know are dropped.
 * Errors: {@link AlertUnreadableError} naming the first field that is wrong.
 */
export function decodeAlert(value: Buffer | null): Alert {
  if (value === null) throw new AlertUnreadableError('an alert record has no value');
  let json: unknown;
  try {
    json = JSON.parse(utf8.decode(value));
  } catch (cause) {
    throw new AlertUnreadableError(`an alert record of ${value.length} bytes is not JSON`, { cause });
  }
  const parsed = alertSchema.safeParse(json);
  if (parsed.success) return parsed.data as Alert;
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? 'alert' : issue.path.join('.');
  throw new AlertUnreadableError(`an alert record does not hold an alert: ${place}: ${issue?.message ?? 'invalid'}`);
}
