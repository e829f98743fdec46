import { describe, expect, it } from 'vitest';
import { KafkaError, refused, told } from '../../src/adapters/kafka/errors.js';
import {
  type KafkaOptions,
  type KafkaSasl,
  kafkajsConfigOf,
  saslOf,
  settingsOf,
  tlsOf,
} from '../../src/adapters/kafka/options.js';

const options: KafkaOptions = {
  brokers: ['broker-1.bank.example:9093', '[::1]:9094'],
  clientId: 'detector',
  transactionalIdPrefix: 'fraud',
  transactions: 'auto',
};

describe('options', () => {
  it('survive the way to a worker thread', () => {
    const secured: KafkaOptions = {
      ...options,
      ssl: { ca: 'CA', cert: 'CERT', key: 'KEY', rejectUnauthorized: true },
      sasl: { mechanism: 'scram-sha-512', username: 'u', password: 'p' },
      sessionTimeoutMs: 6_000,
    };
    expect(settingsOf(structuredClone(secured))).toEqual(settingsOf(secured));
  });

  it('name hosts and ports, IPv6 ones too', () => {
    expect(settingsOf(options).addresses).toEqual([
      { host: 'broker-1.bank.example', port: 9093 },
      { host: '::1', port: 9094 },
    ]);
  });

  it.each([
    ['no brokers', { brokers: [] }, /brokers is empty/],
    ['a broker without a port', { brokers: ['broker'] }, /'broker' is not host:port/],
    ['a port out of range', { brokers: ['broker:70000'] }, /'broker:70000' is not host:port/],
    ['no transactional id prefix', { transactionalIdPrefix: '' }, /transactionalIdPrefix is empty/],
    ['a transaction that ends before its retries do', { transactionTimeoutMs: 20_000 }, /must be above deadlineMs/],
    ['requests that end before a fetch does', { requestTimeoutMs: 900 }, /at least four times fetchWaitMs/],
  ] as const)('are refused with %s', (_, wrong, message) => {
    expect(() => settingsOf({ ...options, ...wrong })).toThrow(KafkaError);
    expect(() => settingsOf({ ...options, ...wrong })).toThrow(message);
  });

  it('without TLS and SASL mean plaintext on both clients', () => {
    const settings = settingsOf(options);
    expect(tlsOf(settings.ssl)).toBeNull();
    expect(saslOf(settings.sasl)).toBeNull();
    const config = kafkajsConfigOf(settings);
    expect(config).not.toHaveProperty('ssl');
    expect(config).not.toHaveProperty('sasl');
    expect(config.retry).toMatchObject({ initialRetryTime: 5, retries: 20 });
  });

  it('hand TLS through to both clients, an empty one meaning the system authorities', () => {
    const ssl = { ca: 'CA', cert: 'CERT', key: 'KEY', rejectUnauthorized: false };
    const settings = settingsOf({ ...options, ssl });
    expect(tlsOf(settings.ssl)).toEqual(ssl);
    expect(kafkajsConfigOf(settings).ssl).toEqual(ssl);
    expect(tlsOf(settingsOf({ ...options, ssl: {} }).ssl)).toEqual({});
  });

  it.each([
    ['plain', 'PLAIN'],
    ['scram-sha-256', 'SCRAM-SHA-256'],
    ['scram-sha-512', 'SCRAM-SHA-512'],
  ] as const)('hand SASL %s through to both clients', (mechanism, name) => {
    const sasl: KafkaSasl = { mechanism, username: 'u', password: 'p' };
    const settings = settingsOf({ ...options, sasl });
    expect(saslOf(settings.sasl)?.mechanism).toBe(name);
    expect(kafkajsConfigOf(settings).sasl).toEqual(sasl);
  });
});

describe('errors', () => {
  it("name the broker's code, the request, the place and what to do", () => {
    const error = refused(29, 'Produce', 'fraud.alerts-0');
    expect(error.message).toMatch(/^TOPIC_AUTHORIZATION_FAILED \(29\) on Produce to fraud\.alerts-0: grant /);
    expect([error.code, error.brokerCode]).toEqual(['kafka-denied', 29]);
  });

  it("tell a code that is newer than the client by its number, and the broker's own words", () => {
    expect(refused(9_999, 'Fetch', 'payments.raw-1', { message: 'no' }).message).toBe(
      'error 9999 on Fetch to payments.raw-1: no',
    );
  });

  it('keep what is ours, and the cause of what is not', () => {
    const ours = refused(10, 'Produce', 't-0');
    expect(told(ours, 'x', 'y')).toBe(ours);
    const cause = new TypeError('boom');
    expect(told(cause, 'Fetch', 't-0')).toMatchObject({ cause, message: 'Fetch to t-0 failed: boom' });
  });
});
