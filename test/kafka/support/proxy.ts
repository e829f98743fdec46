/**
 * A TCP proxy before a broker that understands just enough of Kafka's framing to lose what a test wants lost: the answer
 * to a request (it arrived, the client never hears), the request itself, or, hanging, everything.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export const API_KEY = { produce: 0, heartbeat: 12, endTxn: 26, initProducerId: 22 } as const;

interface Loss {
  readonly apiKey: number;
  readonly what: 'answer' | 'request';
  readonly done: () => void;
}

/** Splits a byte stream into Kafka's size-prefixed frames. */
class Frames {
  private buffered = Buffer.alloc(0);

  take(chunk: Buffer): Buffer[] {
    this.buffered = Buffer.concat([this.buffered, chunk]);
    const frames: Buffer[] = [];
    while (this.buffered.length >= 4) {
      const end = 4 + this.buffered.readInt32BE(0);
      if (this.buffered.length < end) break;
      frames.push(this.buffered.subarray(0, end));
      this.buffered = this.buffered.subarray(end);
    }
    return frames;
  }
}

export class LossyProxy {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private losses: Loss[] = [];
  private hanging = false;

  private constructor(private readonly brokerPort: number) {
    this.server = createServer((client) => this.connect(client));
  }

  static async open(port: number, brokerPort: number): Promise<LossyProxy> {
    const proxy = new LossyProxy(brokerPort);
    await new Promise<void>((resolve, reject) => {
      proxy.server.once('error', reject);
      proxy.server.listen(port, '127.0.0.1', resolve);
    });
    return proxy;
  }

  /** Loses the next request of this kind, or its answer, with its connection. Resolves when that has happened. */
  lose(apiKey: number, what: 'answer' | 'request'): Promise<void> {
    return new Promise((done) => this.losses.push({ apiKey, what, done }));
  }

  /** While hanging nothing passes and no connection closes, as with a paused broker or a cable pulled. */
  hang(hanging: boolean): void {
    this.hanging = hanging;
    for (const socket of this.sockets)
      if (hanging) socket.pause();
      else socket.resume();
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private connect(client: Socket): void {
    const broker = createConnection({ host: '127.0.0.1', port: this.brokerPort, noDelay: true });
    client.setNoDelay(true);
    const cut = () => {
      client.destroy();
      broker.destroy();
    };
    const awaited = new Map<number, Loss>();
    const requests = new Frames();
    const answers = new Frames();
    client.on('data', (chunk) => {
      for (const frame of requests.take(chunk)) {
        const loss = this.takeLoss(frame.readInt16BE(4));
        if (loss?.what === 'request') {
          cut();
          loss.done();
          return;
        }
        if (loss !== null) awaited.set(frame.readInt32BE(8), loss);
        broker.write(frame);
      }
    });
    broker.on('data', (chunk) => {
      for (const frame of answers.take(chunk)) {
        const loss = awaited.get(frame.readInt32BE(4));
        if (loss !== undefined) {
          cut();
          loss.done();
          return;
        }
        client.write(frame);
      }
    });
    for (const socket of [client, broker]) {
      this.sockets.add(socket);
      if (this.hanging) socket.pause();
      socket.on('error', cut);
      socket.on('close', () => {
        this.sockets.delete(socket);
        cut();
      });
    }
  }

  private takeLoss(apiKey: number): Loss | null {
    const loss = this.losses.find((candidate) => candidate.apiKey === apiKey) ?? null;
    if (loss !== null) this.losses = this.losses.filter((candidate) => candidate !== loss);
    return loss;
  }
}
