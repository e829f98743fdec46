/**
 * Owns the choice of the log: turns the configuration into a backend's options (plain data, so that worker threads can
 * open their own) and opens it. An adapter is loaded only where it is used. Neighbours: `adapters/kafka`,
 * `adapters/embedded-log`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EmbeddedLogOptions } from '../adapters/embedded-log/backend.js';
import type { KafkaOptions } from '../adapters/kafka/options.js';
import { StreamError } from '../stream/errors.js';
import type { LogBackend } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';

/** Which backend, and how. Structured-cloneable. */
export type BackendOptions =
  | { readonly kind: 'kafka'; readonly options: KafkaOptions }
  | { readonly kind: 'embedded'; readonly options: EmbeddedLogOptions };

const MIB = 1_048_576;

/** Opens the configured backend on this thread. Errors: those of the adapter; `file-unreadable` for a certificate. */
export function openBackend(
  configuration: Configuration,
  onTrouble: (message: string) => void = () => {},
): Promise<LogBackend> {
  return openBackendWith(backendOptions(configuration), onTrouble);
}

/** Opens a backend from its options, in a worker thread for example. */
export async function openBackendWith(
  backend: BackendOptions,
  onTrouble: (message: string) => void = () => {},
): Promise<LogBackend> {
  if (backend.kind === 'kafka') {
    const { openKafkaBackend } = await import('../adapters/kafka/backend.js');
    return openKafkaBackend(backend.options, { onTrouble }).catch((cause: unknown) => {
      if (!(cause instanceof StreamError) || cause.code !== 'kafka-unreachable') throw cause;
      const way = '`npm run kafka` starts a broker on this machine, --kafka host:port names another one';
      throw new StreamError(cause.code, `${cause.message}. ${way}`, { cause });
    });
  }
  const { openEmbeddedBackend } = await import('../adapters/embedded-log/backend.js');
  return openEmbeddedBackend(backend.options);
}

/** Loads the adapter's code and opens nothing: for whoever waits before it may be opened. */
export async function loadBackend({ backend }: Configuration): Promise<void> {
  await (backend === 'kafka' ? import('../adapters/kafka/backend.js') : import('../adapters/embedded-log/backend.js'));
}

/** The options that the configuration stands for. Certificates are read here, once, into the options. */
export function backendOptions(
  configuration: Configuration,
  readFile: (path: string) => string = readText,
): BackendOptions {
  if (configuration.backend === 'kafka') return { kind: 'kafka', options: kafkaOptions(configuration, readFile) };
  const { maxMiB, retentionMiB, retentionMs } = configuration.embeddedLog;
  const directory = join(configuration.dataDir, 'log');
  const options = { directory, maxBytes: maxMiB * MIB, retentionBytes: retentionMiB * MIB, retentionMs };
  return { kind: 'embedded', options };
}

function kafkaOptions(configuration: Configuration, readFile: (path: string) => string): KafkaOptions {
  const { kafka, pipeline, topics } = configuration;
  const { ssl, sasl } = kafka;
  const pem = (name: 'ca' | 'cert' | 'key', path: string | undefined) =>
    path === undefined ? {} : { [name]: readFile(path) };
  return {
    brokers: kafka.brokers,
    clientId: kafka.clientId,
    transactionalIdPrefix: pipeline.name,
    transactions: kafka.transactions,
    ...(kafka.groupInstanceId === undefined ? {} : { groupInstanceId: kafka.groupInstanceId }),
    sessionTimeoutMs: kafka.sessionTimeoutMs,
    requestTimeoutMs: kafka.requestTimeoutMs,
    connectTimeoutMs: kafka.connectTimeoutMs,
    deadlineMs: kafka.deadlineMs,
    transactionTimeoutMs: kafka.transactionTimeoutMs,
    replicationFactor: topics.replicationFactor,
    ...(ssl.enabled
      ? { ssl: { ...pem('ca', ssl.caFile), ...pem('cert', ssl.certFile), ...pem('key', ssl.keyFile) } }
      : {}),
    ...(sasl.mechanism === 'none'
      ? {}
      : { sasl: { mechanism: sasl.mechanism, username: sasl.username ?? '', password: sasl.password ?? '' } }),
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StreamError('file-unreadable', `Cannot read ${path}: ${reason}`, { cause });
  }
}
