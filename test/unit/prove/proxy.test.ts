/** What the proxy does to connections, seen by a client and a broker that only echo correlation ids. */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { API_KEYS } from '../../../scripts/prove/kafka-frames.js';
import { KafkaProxy } from '../../../scripts/prove/proxy.js';

const LISTEN_PORT = 19_797;
const BROKER_PORT = 19_798;
const ANSWER_BYTES = 64;

/** Answers each request with its correlation id and some bytes. */
class EchoBroker {
  readonly heard: number[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly server: Server = createServer((socket) => {
    this.sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (let at = 0; at < chunk.length; at += 4 + chunk.readInt32BE(at)) {
        const correlation = chunk.readInt32BE(at + 8);
        this.heard.push(correlation);
        const answer = Buffer.alloc(ANSWER_BYTES);
        answer.writeInt32BE(ANSWER_BYTES - 4);
        answer.writeInt32BE(correlation, 4);
        socket.write(answer);
      }
    });
  });

  open(): Promise<void> {
    return new Promise((done) => this.server.listen(BROKER_PORT, '127.0.0.1', done));
  }

  close(): Promise<unknown> {
    for (const socket of this.sockets) socket.destroy();
    return new Promise((done) => this.server.close(done));
  }
}

class Client {
  bytes = 0;
  closed = false;
  private readonly socket = createConnection({ host: '127.0.0.1', port: LISTEN_PORT });

  constructor() {
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('data', (chunk) => {
      this.bytes += chunk.length;
    });
  }

  send(...requests: readonly (readonly [apiKey: number, correlation: number])[]): void {
    const frames = requests.map(([apiKey, correlation]) => {
      const frame = Buffer.alloc(32);
      frame.writeInt32BE(28);
      frame.writeInt16BE(apiKey, 4);
      frame.writeInt32BE(correlation, 8);
      return frame;
    });
    this.socket.write(Buffer.concat(frames));
  }

  end(): void {
    this.socket.destroy();
  }
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`waited 5 s for ${what}`);
    await sleep(5);
  }
}

describe('a proxy before a broker', () => {
  let broker: EchoBroker;
  let proxy: KafkaProxy;
  let client: Client;

  beforeEach(async () => {
    broker = new EchoBroker();
    await broker.open();
    const routes = [{ listenPort: LISTEN_PORT, brokerPort: BROKER_PORT }];
    proxy = await KafkaProxy.open({ routes, seesRequests: true });
    client = new Client();
  });

  afterEach(async () => {
    client.end();
    await proxy.close();
    await broker.close();
  });

  it('passes requests and answers on', async () => {
    client.send([API_KEYS.Produce, 1], [API_KEYS.EndTxn, 2]);
    await until('both answers', () => client.bytes === 2 * ANSWER_BYTES);
    expect(broker.heard).toEqual([1, 2]);
  });

  it('loses the aimed request and keeps those before it', async () => {
    const cut = proxy.aim('EndTxn', 'request', { withinMs: 5_000 });
    client.send([API_KEYS.Produce, 1], [API_KEYS.EndTxn, 2]);
    expect(await cut).toBe(1);
    await until('the cut', () => client.closed);
    await until('the first request', () => broker.heard.length > 0);
    expect(broker.heard).toEqual([1]);
  });

  it('lets the aimed request arrive and loses its answer', async () => {
    const cut = proxy.aim('EndTxn', 'answer', { withinMs: 5_000 });
    client.send([API_KEYS.Produce, 1], [API_KEYS.EndTxn, 2]);
    expect(await cut).toBe(1);
    await until('the cut', () => client.closed);
    expect(broker.heard).toEqual([1, 2]);
    expect(client.bytes).toBe(ANSWER_BYTES);
  });

  it('gives a part of the aimed answer', async () => {
    const cut = proxy.aim('EndTxn', 'half answer', { withinMs: 5_000 });
    client.send([API_KEYS.EndTxn, 2]);
    expect(await cut).toBe(1);
    await until('the cut', () => client.closed);
    expect(client.bytes).toBe(8);
  });

  it('brings a late request to the broker when its client has lost the connection', async () => {
    const cut = proxy.aim('EndTxn', 'late request', { withinMs: 5_000 });
    client.send([API_KEYS.EndTxn, 2]);
    expect(await cut).toBe(1);
    await until('the cut', () => client.closed);
    expect(broker.heard).toEqual([]);
    await until('the late request', () => broker.heard.length === 1);
    expect(client.bytes).toBe(0);
  });

  it('tells that nothing could be cut where no such request came', async () => {
    client.send([API_KEYS.Produce, 1]);
    expect(await proxy.aim('EndTxn', 'request', { withinMs: 100 })).toBe(0);
    client.send([API_KEYS.EndTxn, 2]);
    await until('both answers', () => client.bytes === 2 * ANSWER_BYTES);
    expect(client.closed).toBe(false);
  });

  it('cuts every connection in the middle of an answer', async () => {
    await until('the connection', () => proxy.connections === 1);
    const cut = proxy.cutInAnswer(5_000);
    client.send([API_KEYS.Produce, 1]);
    expect(await cut).toBe(1);
    await until('the cut', () => client.closed);
    expect(client.bytes).toBe(ANSWER_BYTES / 2);
  });

  it('holds everything while it is holed, and passes it afterwards', async () => {
    await until('the connection', () => proxy.connections === 1);
    proxy.blackHole(true);
    client.send([API_KEYS.Produce, 1]);
    await sleep(100);
    expect(broker.heard).toEqual([]);
    proxy.blackHole(false);
    await until('the answer', () => client.bytes === ANSWER_BYTES);
  });

  it('delays both ways', async () => {
    proxy.delay({ toBrokerMs: 100, toClientMs: 100 });
    const sentMs = performance.now();
    client.send([API_KEYS.Produce, 1]);
    await until('the answer', () => client.bytes === ANSWER_BYTES);
    expect(performance.now() - sentMs).toBeGreaterThanOrEqual(195);
  });

  it('passes no more than the limited rate', async () => {
    proxy.limit({ toBrokerBytesPerSecond: 320, toClientBytesPerSecond: null });
    const sentMs = performance.now();
    for (let number = 1; number <= 4; number++) {
      client.send([API_KEYS.Produce, number]);
      await until('the answer', () => client.bytes === number * ANSWER_BYTES);
    }
    // Three of four requests of 32 bytes wait until the one before is paid for.
    expect(performance.now() - sentMs).toBeGreaterThanOrEqual(280);
  });

  it('cuts all connections and takes new ones', async () => {
    await until('the connection', () => proxy.connections === 1);
    expect(proxy.cutAll()).toBe(1);
    await until('the cut', () => client.closed);
    client = new Client();
    client.send([API_KEYS.Produce, 1]);
    await until('the answer', () => client.bytes === ANSWER_BYTES);
  });
});
