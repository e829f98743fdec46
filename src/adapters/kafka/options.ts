/**
 * Owns the adapter's options and how they map to the two clients: kafka-ts sockets for the data plane, kafkajs for the
 * control plane. Options are plain data (structured-cloneable): every worker thread opens a backend of its own.
 */
import type { TLSSocketOptions } from 'node:tls';
import { saslPlain, saslScramSha256, saslScramSha512 } from 'kafka-ts';
import type { KafkaConfig, SASLOptions } from 'kafkajs';
import { KafkaError } from './errors.js';

export interface KafkaTls {
  /** PEM texts. System certificate authorities where `ca` is left out. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** False accepts any certificate: for tests alone. */
  readonly rejectUnauthorized?: boolean;
}

export interface KafkaSasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

export interface KafkaOptions {
  /** `host:port` each; any living one is enough to find the others. */
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly ssl?: KafkaTls;
  readonly sasl?: KafkaSasl;
  /** The transactional id of an epoch log opened without an owner's id is `<prefix>-<taskId>`: one prefix a deployment. */
  readonly transactionalIdPrefix: string;
  /** `auto` takes v2 (KIP-890) where the cluster has finalised transaction.version 2, else v1. */
  readonly transactions: 'auto' | 'v1' | 'v2';
  /** Group membership ends after this long without a heartbeat; 7,000. */
  readonly sessionTimeoutMs?: number;
  /**
   * Name that this process keeps over restarts: started again after a crash it takes its place at once, instead of
   * waiting for the session time-out of the one that died. One process alone may have it. Null: a new member each time.
   */
  readonly groupInstanceId?: string;
  /** How long members of a group may take to give partitions up; 30,000. */
  readonly rebalanceTimeoutMs?: number;
  /** A request without an answer for this long counts as a lost connection; 10,000. */
  readonly requestTimeoutMs?: number;
  /** 3,000. */
  readonly connectTimeoutMs?: number;
  /** How long retriable trouble is retried before an operation fails (commit, fence, write); 30,000. */
  readonly deadlineMs?: number;
  /** The broker aborts an epoch's Kafka transaction left open for longer; 60,000. Above `deadlineMs`. */
  readonly transactionTimeoutMs?: number;
  /** Longest that the broker holds a fetch when there is nothing to read; 250. */
  readonly fetchWaitMs?: number;
  /** Largest answer to one fetch, bytes; 1 MiB. A single larger batch still arrives whole. */
  readonly fetchBytes?: number;
  /** -1 leaves the replication of topics made here to the cluster's default. */
  readonly replicationFactor?: number;
}

/** The options with everything left out filled in. */
export type KafkaSettings = Required<Omit<KafkaOptions, 'ssl' | 'sasl' | 'groupInstanceId'>> & {
  readonly ssl: KafkaTls | null;
  readonly sasl: KafkaSasl | null;
  readonly groupInstanceId: string | null;
  readonly addresses: readonly BrokerAddress[];
};

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

/** Fills defaults in and refuses what cannot work. */
export function settingsOf(options: KafkaOptions): KafkaSettings {
  const settings: KafkaSettings = {
    sessionTimeoutMs: 7_000,
    rebalanceTimeoutMs: 30_000,
    requestTimeoutMs: 10_000,
    connectTimeoutMs: 3_000,
    deadlineMs: 30_000,
    transactionTimeoutMs: 60_000,
    fetchWaitMs: 250,
    fetchBytes: 1024 * 1024,
    replicationFactor: -1,
    ...withoutUndefined(options),
    ssl: options.ssl ?? null,
    sasl: options.sasl ?? null,
    groupInstanceId: options.groupInstanceId ?? null,
    addresses: options.brokers.map(addressOf),
  };
  if (settings.addresses.length === 0) throw bad('brokers is empty: name at least one host:port');
  if (settings.transactionalIdPrefix === '') throw bad('transactionalIdPrefix is empty: name the deployment');
  if (settings.transactionTimeoutMs <= settings.deadlineMs) {
    throw bad(
      `transactionTimeoutMs ${settings.transactionTimeoutMs} must be above deadlineMs ${settings.deadlineMs}, or an epoch could be aborted while it is still being retried`,
    );
  }
  if (settings.fetchWaitMs * 4 > settings.requestTimeoutMs) {
    throw bad(
      `requestTimeoutMs ${settings.requestTimeoutMs} must be at least four times fetchWaitMs ${settings.fetchWaitMs}`,
    );
  }
  return settings;
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T;
}

const bad = (what: string) => new KafkaError('kafka-options', `Kafka options: ${what}`);

function addressOf(text: string): BrokerAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65_535) throw bad(`broker '${text}' is not host:port`);
  return { host, port };
}

/** TLS options of the data plane's sockets; null is plaintext. */
export function tlsOf(ssl: KafkaTls | null): TLSSocketOptions | null {
  return ssl === null ? null : withoutUndefined({ ...ssl });
}

/** kafka-ts's SASL provider; null where there is none. */
export function saslOf(sasl: KafkaSasl | null): ReturnType<typeof saslPlain> | null {
  if (sasl === null) return null;
  const user = { username: sasl.username, password: sasl.password };
  switch (sasl.mechanism) {
    case 'plain':
      return saslPlain(user);
    case 'scram-sha-256':
      return saslScramSha256(user);
    case 'scram-sha-512':
      return saslScramSha512(user);
  }
}

/** kafkajs types each mechanism apart. */
function kafkajsSaslOf({ mechanism, username, password }: KafkaSasl): SASLOptions {
  switch (mechanism) {
    case 'plain':
      return { mechanism, username, password };
    case 'scram-sha-256':
      return { mechanism, username, password };
    case 'scram-sha-512':
      return { mechanism, username, password };
  }
}

/** kafkajs's `logLevel.NOTHING`; kafkajs itself is loaded only where it is used, workers never need it. */
const NO_LOG_LINES = 0;

/** kafkajs's configuration. Its default first retry of 300 ms would dominate every call. */
export function kafkajsConfigOf(settings: KafkaSettings): KafkaConfig {
  const { ssl, sasl } = settings;
  return {
    clientId: `${settings.clientId}-admin`,
    brokers: settings.brokers.slice(),
    ...(ssl === null ? {} : { ssl: withoutUndefined({ ...ssl }) }),
    ...(sasl === null ? {} : { sasl: kafkajsSaslOf(sasl) }),
    connectionTimeout: settings.connectTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    retry: { initialRetryTime: 5, retries: 20, maxRetryTime: 1_000 },
    // None: errors reach the caller as exceptions; its log lines would tell them twice.
    logLevel: NO_LOG_LINES,
  };
}
