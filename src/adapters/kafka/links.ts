/**
 * Owns the connections to brokers: one a broker, opened on demand, on kafka-ts's `Broker` (socket, framing, TLS, SASL,
 * version handshake). A link that lost or timed out a request is dropped, so a broker that hangs never holds a second
 * request, and bootstrap goes round all addresses known (a hung seed is replaced).
 *
 * A broker answers one request a connection at a time: who long-polls or must not wait has links of his own.
 * Neighbours: `topics.ts` and `coordinator.ts` learn where to send, readers, writers and epoch logs send.
 *
 * `Broker` is imported from inside the package (version pinned, see docs/adr/0001-kafka-clients.md): its public
 * `Cluster` cannot set noDelay on brokers found by metadata, and never replaces a hung seed.
 */

import { Broker } from 'kafka-ts/dist/broker.js';
import type { Api } from 'kafka-ts/dist/utils/api.js';
import { brokerCodeOf, isConnectionLoss, KafkaError, refused, told } from './errors.js';
import { type BrokerAddress, type KafkaSettings, saslOf, tlsOf } from './options.js';

/** Where a broker is to be found, from metadata. */
export interface KnownBroker extends BrokerAddress {
  readonly nodeId: number;
}

interface Link {
  readonly broker: Broker;
  readonly ready: Promise<unknown>;
}

export class BrokerLinks {
  private readonly byNode = new Map<number, Link>();
  private readonly addressByNode = new Map<number, BrokerAddress>();
  private seed: Link | null = null;
  private nextCandidate: number;
  private closed = false;
  /** Called once when the links are closed. */
  onClosed: () => void = () => {};

  /** `requestTimeoutMs` overrides the settings' for requests that are meant to wait (joining a group). */
  constructor(
    private readonly settings: KafkaSettings,
    private readonly requestTimeoutMs = settings.requestTimeoutMs,
    firstCandidate = 0,
  ) {
    this.nextCandidate = firstCandidate;
  }

  /** Learns the brokers' addresses; links to brokers that moved are dropped. */
  learn(brokers: readonly KnownBroker[]): void {
    for (const { nodeId, host, port } of brokers) {
      const known = this.addressByNode.get(nodeId);
      if (known !== undefined && (known.host !== host || known.port !== port)) this.dropNode(nodeId);
      this.addressByNode.set(nodeId, { host, port });
    }
  }

  knows(nodeId: number): boolean {
    return this.addressByNode.has(nodeId);
  }

  /**
   * Sends to any living broker. Errors: kafka-ts's `ConnectionError` or {@link KafkaError} 'kafka-unreachable' when the
   * answer did not come (the next call tries another broker), `KafkaTSApiError` for a refusal.
   */
  async ask<Request, Answer>(api: Api<Request, Answer>, request: Request): Promise<Answer> {
    const link = this.seed ?? (await this.openSeed());
    try {
      return await link.broker.sendRequest(api, request);
    } catch (error) {
      if (isConnectionLoss(error)) {
        if (this.seed === link) this.seed = null;
        disconnect(link);
      }
      throw error;
    }
  }

  /** Sends to one broker. Errors as {@link ask}; an unknown broker counts as a lost connection. */
  async askNode<Request, Answer>(nodeId: number, api: Api<Request, Answer>, request: Request): Promise<Answer> {
    const link = this.linkTo(nodeId);
    try {
      await link.ready;
      return await link.broker.sendRequest(api, request);
    } catch (error) {
      if (isConnectionLoss(error) && this.byNode.get(nodeId) === link) this.dropNode(nodeId);
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.onClosed();
    const links = [...this.byNode.values(), ...(this.seed === null ? [] : [this.seed])];
    this.byNode.clear();
    this.seed = null;
    for (const link of links) disconnect(link);
  }

  private linkTo(nodeId: number): Link {
    const existing = this.byNode.get(nodeId);
    if (existing !== undefined) return existing;
    this.refuseWhenClosed();
    const address = this.addressByNode.get(nodeId);
    if (address === undefined) throw new KafkaError('kafka-unreachable', `Broker ${nodeId} is not known, or is down`);
    const link = this.open(address);
    this.byNode.set(nodeId, link);
    link.ready.catch(() => {
      // Told to whoever awaits `ready`; here only the place is freed for a new try.
      if (this.byNode.get(nodeId) === link) this.byNode.delete(nodeId);
    });
    return link;
  }

  /** Goes once round the addresses known, beginning behind the one that failed last. */
  private async openSeed(): Promise<Link> {
    this.refuseWhenClosed();
    const candidates = [...this.settings.addresses, ...this.addressByNode.values()];
    const reasons: string[] = [];
    for (let tried = 0; tried < candidates.length; tried++) {
      const { host, port } = candidates[this.nextCandidate++ % candidates.length];
      const link = this.open({ host, port });
      try {
        await link.ready;
        if (this.closed) disconnect(link);
        this.refuseWhenClosed();
        this.seed = link;
        return link;
      } catch (error) {
        const brokerCode = brokerCodeOf(error);
        if (brokerCode !== null) throw refused(brokerCode, 'connecting', `${host}:${port}`, { cause: error });
        if (this.closed) throw error;
        const reason = `${host}:${port}: ${error instanceof Error ? error.message : String(error)}`;
        if (!reasons.includes(reason)) reasons.push(reason);
      }
    }
    throw new KafkaError(
      'kafka-unreachable',
      `No Kafka broker answered (${reasons.join('; ')}); check that it runs and that brokers, TLS and SASL settings are right`,
    );
  }

  private open(address: BrokerAddress): Link {
    const { clientId, connectTimeoutMs, ssl, sasl } = this.settings;
    const broker = new Broker({
      clientId,
      // noDelay: Nagle's algorithm would add up to 40 ms to each small request.
      options: { ...address, noDelay: true },
      ssl: tlsOf(ssl),
      sasl: saslOf(sasl),
      requestTimeout: this.requestTimeoutMs,
      connectTimeout: connectTimeoutMs,
    });
    return { broker, ready: broker.connect() };
  }

  private dropNode(nodeId: number): void {
    const link = this.byNode.get(nodeId);
    this.byNode.delete(nodeId);
    if (link !== undefined) disconnect(link);
  }

  private refuseWhenClosed(): void {
    if (this.closed) throw new KafkaError('kafka-closed', 'This Kafka connection was closed');
  }
}

/** Not awaited: closing gracefully can take 5 s on a hung broker, and nobody depends on it. */
function disconnect(link: Link): void {
  const ignore = () => {
    // The socket is gone either way; there is nothing left to do with the reason.
  };
  link.ready
    .then(
      () => link.broker.disconnect(),
      () => link.broker.disconnect(),
    )
    .catch(ignore);
}

/** Walks an API's older versions down to the newest that is at most `version`. Errors: none is that old. */
export function atMost<Request, Answer>(api: Api<Request, Answer>, version: number): Api<Request, Answer> {
  let candidate: Api<Request, Answer> | undefined = api;
  while (candidate !== undefined && candidate.apiVersion > version) candidate = candidate.fallback;
  if (candidate === undefined)
    throw told(new Error(`no version ${version} or older`), `API ${api.apiKey}`, 'the client');
  return candidate;
}
