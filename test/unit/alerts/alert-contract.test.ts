import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import avsc from 'avsc';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Alert } from '../../../src/fraud/alerts/alert.js';
import { alertAvroSchema, alertFromAvro, alertToAvro } from '../../../src/fraud/alerts/alert-avro.js';
import { ALERT_SCHEMA_URN, alertJsonSchema } from '../../../src/fraud/alerts/alert-schema.js';
import { decodeAlert, encodeAlert } from '../../../src/fraud/alerts/encode-alert.js';
import { valuesOf } from '../../support/json-schema-arbitrary.js';

const avscFile = fileURLToPath(new URL('../../../schemas/alert.avsc', import.meta.url));
const anyAlert = valuesOf(alertJsonSchema()) as fc.Arbitrary<Alert>;
type AvroRecord = { name: string; fields: { name: string; type: unknown; default?: unknown }[] };
const typeOf = (schema: unknown) => avsc.Type.forSchema(schema as avsc.Schema);
const present = alertAvroSchema() as AvroRecord & Record<string, unknown>;

describe('any alert that the schema allows', () => {
  const validate = new Ajv2020({ strict: false }).compile(alertJsonSchema());

  it('is read back from the wire as it was, and its value holds to the JSON Schema', () => {
    fc.assert(
      fc.property(anyAlert, (alert) => {
        const { value, key } = encodeAlert(alert, 'fraud.alerts');
        expect(validate(JSON.parse(String(value)))).toBe(true);
        expect(decodeAlert(value)).toEqual(alert);
        expect(key?.toString()).toBe(alert.cardId);
      }),
      { numRuns: 200 },
    );
  });

  it('goes through Avro and back without losing a field', () => {
    const type = typeOf(present);
    fc.assert(
      fc.property(anyAlert, (alert) => {
        const bytes = type.toBuffer(alertToAvro(alert));
        expect(alertFromAvro(type.fromBuffer(bytes))).toEqual(alert);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the Avro schema', () => {
  it('is the published one', async () => {
    // `vitest run test/unit/alerts -u` writes the file anew.
    await expect(`${JSON.stringify(present, null, 2)}\n`).toMatchFileSnapshot(avscFile);
  });

  it('has the fields of the JSON Schema, level by level, with their descriptions', () => {
    const { Alert: alert } = (alertJsonSchema() as { $defs: Record<string, { properties: object }> }).$defs;
    expect(present.fields.map(({ name }) => name)).toEqual(Object.keys(alert.properties));
    const named = new Map<string, AvroRecord>();
    JSON.stringify(present, (_, value) => {
      if (value?.type === 'record') named.set(value.name, value);
      return value;
    });
    const { Payment: payment } = (alertJsonSchema() as { $defs: Record<string, { properties: object }> }).$defs;
    expect(named.get('Payment')?.fields.map(({ name }) => name)).toEqual(Object.keys(payment.properties));
    expect(JSON.stringify(present)).toContain('Deterministic id, 32 hex digits');
  });

  it('gives every field that may be missing null for its default, so that it can go and come', () => {
    JSON.stringify(present, (_, value) => {
      if (value?.type !== 'record') return value;
      for (const field of (value as AvroRecord).fields) {
        if (Array.isArray(field.type)) expect(field).toMatchObject({ type: ['null', field.type[1]], default: null });
      }
      return value;
    });
  });

  it('lets a reader of today read a symbol and a field of tomorrow', () => {
    const tomorrow = JSON.parse(JSON.stringify(present), (_, value) => {
      if (value?.name === 'AlertSeverity') value.symbols.splice(1, 0, 'catastrophic');
      if (value?.name === 'Alert') value.fields.unshift({ name: 'caseId', type: 'string' });
      return value;
    });
    const [alert] = fc.sample(anyAlert, { numRuns: 1, seed: 7 });
    const writer = typeOf(tomorrow);
    const bytes = writer.toBuffer({ ...(alertToAvro(alert) as object), severity: 'catastrophic', caseId: 'c-1' });
    const reader = typeOf(present);
    const read = alertFromAvro(reader.fromBuffer(bytes, reader.createResolver(writer)));
    expect(read).toEqual({ ...alert, severity: 'UNKNOWN' });
  });
});

describe('the headers of an alert', () => {
  const [alert] = fc.sample(anyAlert, { numRuns: 1, seed: 11 });
  const headersOf = (record: ReturnType<typeof encodeAlert>) =>
    Object.fromEntries(record.headers.map(([name, value]) => [name, value.toString()]));
  const { source } = alert.evidence;

  it('are those of the CloudEvents Kafka binding in binary mode, with schema and trace', () => {
    const trace = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'vendor=1' };
    const headers = headersOf(encodeAlert(alert, 'fraud.alerts', trace));
    expect(headers).toEqual({
      ce_specversion: '1.0',
      ce_id: alert.alertId,
      ce_source: `/fraud-detection/${encodeURIComponent(source.topic)}/${source.partition}`,
      ce_type: 'fraud.alert.v1',
      ce_time: new Date(alert.detectedAt).toISOString(),
      ce_subject: alert.paymentId ?? alert.cardId,
      ce_dataschema: ALERT_SCHEMA_URN,
      ce_traceparent: expect.stringMatching(`^00-${'a'.repeat(32)}-[0-9a-f]{16}-01$`),
      traceparent: headers.ce_traceparent,
      ce_tracestate: 'vendor=1',
      tracestate: 'vendor=1',
      'content-type': 'application/json',
    });
  });

  it('are the same bytes each time, with and without a trace of the payment', () => {
    const trace = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: null };
    expect(encodeAlert(alert, 'fraud.alerts')).toEqual(encodeAlert(alert, 'fraud.alerts'));
    expect(encodeAlert(alert, 'fraud.alerts', trace)).toEqual(encodeAlert(alert, 'fraud.alerts', trace));
    expect(headersOf(encodeAlert(alert, 'fraud.alerts'))).not.toHaveProperty('tracestate');
  });
});
