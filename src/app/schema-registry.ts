/**
 * Owns opening the way to the schema registry and choosing the payments' decoder, from the configuration. Neighbours:
 * `fraud-parts.ts` builds the source on it; the adapter and the decoders know no configuration.
 */
import { readFileSync } from 'node:fs';
import type { TokeniseCard } from '../fraud/payments/card-token.js';
import { jsonDecoder } from '../fraud/payments/decode-json.js';
import type { PaymentDecoder } from '../fraud/payments/payment-source.js';
import type { SchemaSource } from '../fraud/payments/schema-source.js';
import { StreamError } from '../stream/errors.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import type { Configuration } from './configuration/index.js';

export interface OpenedDecoder {
  readonly decoder: PaymentDecoder;
  close(): Promise<void>;
}

/**
 * The decoder of the configured format; Avro and the registry's client (150 modules) are loaded where they are used.
 * Errors: registry-unreadable for a file of keys that cannot be read.
 */
export async function openPaymentDecoder(
  configuration: Configuration,
  tokenise: TokeniseCard | undefined,
  warn: (message: string) => void,
): Promise<OpenedDecoder> {
  const { payments, registry } = configuration;
  const options = tokenise === undefined ? {} : { tokenise };
  const json = jsonDecoder(options);
  if (payments.format === 'json') return { decoder: json, close: async () => {} };
  const { avroDecoder } = await import('../fraud/payments/decode-avro.js');
  const { anyDecoder } = await import('../fraud/payments/decode-any.js');
  const schemas = await openSchemas(configuration);
  const { waitMs, onUnavailable } = registry;
  const avro = avroDecoder({ ...options, schemas, patience: { waitMs, onUnavailable, clock: systemClock, warn } });
  return { decoder: payments.format === 'avro' ? avro : anyDecoder(json, avro), close: () => schemas.close() };
}

async function openSchemas({ registry, kafka }: Configuration): Promise<SchemaSource> {
  const { url, username, password, token, ssl, timeoutMs, cacheSize } = registry;
  // The configuration's own checks have seen to it; this is for those who build one by hand.
  if (url === undefined) throw new StreamError('registry-missing', 'payments in Avro need registry.url');
  const tls = {
    ...(ssl.caFile !== undefined && { ca: read('registry.ssl.caFile', ssl.caFile) }),
    ...(ssl.certFile !== undefined && { cert: read('registry.ssl.certFile', ssl.certFile) }),
    ...(ssl.keyFile !== undefined && { key: read('registry.ssl.keyFile', ssl.keyFile) }),
  };
  const { confluentSchemas } = await import('../adapters/schema-registry/confluent-registry.js');
  return confluentSchemas({
    url,
    clientId: kafka.clientId,
    clock: systemClock,
    timeoutMs,
    maxSchemas: cacheSize,
    tls,
    ...(token !== undefined && { auth: { token } }),
    ...(username !== undefined && password !== undefined && { auth: { username, password } }),
  });
}

function read(setting: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StreamError('registry-unreadable', `${setting} cannot be read: ${reason}`, { cause });
  }
}
