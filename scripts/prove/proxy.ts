/**
 * Owns a TCP proxy before brokers: one port a broker, which the brokers advertise, so that services know no other way.
 * It can cut connections, hold them up and slow them down; and, where no TLS hides the requests, cut exactly at a request
 * of one kind or at its answer: in the midst of a commit, say.
 * Neighbours: `proxy-pipe.ts` passes the bytes of one direction, `kafka-frames.ts` finds requests in them, `nemeses/`
 * strikes through it; `../kafka/cluster.ts` tells its routes.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { API_KEYS, FrameFinder } from './kafka-frames.js';
import type { AimedCut, AimedRequest, ProxyControl } from './nemeses/nemesis.js';
import { Passage, Pipe } from './proxy-pipe.js';

export interface ProxyOptions {
  readonly routes: readonly { readonly listenPort: number; readonly brokerPort: number }[];
  /** False under TLS: then nothing can be aimed at. */
  readonly seesRequests: boolean;
}

/** A cut that waits for its request. */
interface Aim {
  readonly apiKey: number;
  readonly cut: AimedCut;
  left: number;
  fallen: number;
  readonly done: () => void;
}

/** API key, its version, correlation id. */
const REQUEST_HEAD_BYTES = 8;
const CORRELATION_BYTES = 4;
/** A late request reaches the broker so long after its client lost the connection, ms. */
const LATE_MS = 300;

export class KafkaProxy implements ProxyControl {
  readonly seesRequests: boolean;
  private readonly servers: Server[] = [];
  private readonly open = new Set<Connection>();
  private readonly toBroker = new Passage();
  private readonly toClient = new Passage();
  private aims: Aim[] = [];
  private readonly inAnswer = new Map<Connection, () => void>();

  private constructor(options: ProxyOptions) {
    this.seesRequests = options.seesRequests;
  }

  /** Listens. Errors: a port is taken. */
  static async open(options: ProxyOptions): Promise<KafkaProxy> {
    const proxy = new KafkaProxy(options);
    try {
      for (const { listenPort, brokerPort } of options.routes) await proxy.listen(listenPort, brokerPort);
      return proxy;
    } catch (error) {
      await proxy.close();
      throw error;
    }
  }

  get connections(): number {
    return this.open.size;
  }

  cutAll(): number {
    const cut = [...this.open];
    for (const connection of cut) connection.cut();
    return cut.length;
  }

  async aim(
    request: AimedRequest,
    cut: AimedCut,
    { withinMs, times = 1 }: { withinMs: number; times?: number },
  ): Promise<number> {
    if (!this.seesRequests) throw new Error('requests are hidden by TLS: nothing can be aimed at');
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.aims = this.aims.filter((other) => other !== aim);
        resolve(aim.fallen);
      };
      const timer = setTimeout(end, withinMs);
      const aim: Aim = { apiKey: API_KEYS[request], cut, left: times, fallen: 0, done: end };
      this.aims.push(aim);
    });
  }

  async cutInAnswer(withinMs: number): Promise<number> {
    let cut = 0;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.inAnswer.clear();
        resolve(cut);
      };
      const timer = setTimeout(end, withinMs);
      for (const connection of this.open) {
        this.inAnswer.set(connection, () => {
          cut += 1;
          this.inAnswer.delete(connection);
          if (this.inAnswer.size === 0) end();
        });
      }
      if (this.open.size === 0) end();
    });
  }

  delay({ toBrokerMs, toClientMs }: { toBrokerMs: number; toClientMs: number }): void {
    this.toBroker.delayMs = toBrokerMs;
    this.toClient.delayMs = toClientMs;
    this.changed();
  }

  blackHole(holed: boolean): void {
    this.toBroker.holed = holed;
    this.toClient.holed = holed;
    this.changed();
  }

  limit(limits: { toBrokerBytesPerSecond: number | null; toClientBytesPerSecond: number | null }): void {
    this.toBroker.limit(limits.toBrokerBytesPerSecond);
    this.toClient.limit(limits.toClientBytesPerSecond);
    this.changed();
  }

  calm(): void {
    for (const aim of [...this.aims]) aim.done();
    this.inAnswer.clear();
    this.delay({ toBrokerMs: 0, toClientMs: 0 });
    this.limit({ toBrokerBytesPerSecond: null, toClientBytesPerSecond: null });
    this.blackHole(false);
  }

  async close(): Promise<void> {
    this.calm();
    this.cutAll();
    await Promise.all(this.servers.map((server) => new Promise((done) => server.close(done))));
  }

  /** The cut meant for this request, if there is one; it is used up. */
  takeAim(apiKey: number): Aim | null {
    const aim = this.aims.find((candidate) => candidate.apiKey === apiKey && candidate.left > 0);
    if (aim === undefined) return null;
    aim.left -= 1;
    return aim;
  }

  /** Counts a cut that has fallen. */
  fell(aim: Aim): void {
    aim.fallen += 1;
    if (aim.left === 0) aim.done();
  }

  /** Whether this connection is to be cut in the answer that arrives; that is counted. */
  takeCutInAnswer(connection: Connection): boolean {
    const counted = this.inAnswer.get(connection);
    counted?.();
    return counted !== undefined;
  }

  private async listen(listenPort: number, brokerPort: number): Promise<void> {
    const server = createServer({ noDelay: true }, (client) => {
      const broker = createConnection({ host: '127.0.0.1', port: brokerPort, noDelay: true });
      const connection = new Connection(this, client, broker, this.toBroker, this.toClient);
      this.open.add(connection);
      connection.onEnd = () => {
        this.open.delete(connection);
        this.inAnswer.delete(connection);
      };
    });
    this.servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listenPort, '127.0.0.1', resolve);
    });
  }

  private changed(): void {
    for (const connection of this.open) connection.flow();
  }
}

/** A client's connection and the one to the broker that belongs to it. */
class Connection {
  onEnd: () => void = () => {};
  private readonly requests = new FrameFinder(REQUEST_HEAD_BYTES);
  private readonly answers = new FrameFinder(CORRELATION_BYTES);
  /** Cuts due at the answers with these correlation ids. */
  private readonly awaited = new Map<number, Aim>();
  private readonly up: Pipe;
  private readonly down: Pipe;
  private ended = false;

  constructor(
    private readonly proxy: KafkaProxy,
    private readonly client: Socket,
    private readonly broker: Socket,
    toBroker: Passage,
    toClient: Passage,
  ) {
    this.up = new Pipe(client, broker, toBroker);
    this.down = new Pipe(broker, client, toClient);
    client.on('data', (chunk) => this.fromClient(chunk));
    broker.on('data', (chunk) => this.fromBroker(chunk));
    for (const socket of [client, broker]) {
      // An error is followed by 'close'; the other side learns of it by a reset, as it would without a proxy.
      socket.on('error', () => {});
      socket.on('close', () => this.cut());
    }
    this.flow();
  }

  flow(): void {
    this.up.flow();
    this.down.flow();
  }

  /** Both sides see a reset. */
  cut(): void {
    if (this.ended) return;
    this.ended = true;
    this.up.end();
    this.down.end();
    this.client.resetAndDestroy();
    this.broker.resetAndDestroy();
    this.onEnd();
  }

  private fromClient(chunk: Buffer): void {
    if (this.ended) return;
    if (this.proxy.seesRequests) {
      for (const { start, end, head } of this.requests.find(chunk)) {
        const aim = this.proxy.takeAim(head.readInt16BE(0));
        if (aim === null) continue;
        if (aim.cut === 'request' || aim.cut === 'late request') {
          this.cutBefore(chunk, start, end, aim);
          return;
        }
        this.awaited.set(head.readInt32BE(4), aim);
      }
    }
    this.up.push(chunk);
  }

  /** What came before the request is passed on; the request is lost, or reaches the broker when nobody waits for it. */
  private cutBefore(chunk: Buffer, start: number, end: number, aim: Aim): void {
    const before = chunk.subarray(0, Math.max(0, start));
    const isWhole = start >= 0 && end <= chunk.length;
    const fall = () => {
      if (aim.cut === 'late request' && isWhole) this.passLate(chunk.subarray(start, end));
      else this.cut();
      this.proxy.fell(aim);
    };
    if (before.length > 0) this.up.push(before, fall);
    else fall();
  }

  private passLate(request: Buffer): void {
    this.client.removeAllListeners('close');
    this.client.resetAndDestroy();
    setTimeout(() => {
      if (!this.ended) this.broker.write(request, () => setTimeout(() => this.cut(), LATE_MS));
    }, LATE_MS);
  }

  private fromBroker(chunk: Buffer): void {
    if (this.ended) return;
    if (this.proxy.takeCutInAnswer(this)) {
      this.down.push(chunk.subarray(0, Math.ceil(chunk.length / 2)), () => this.endAfterWrite());
      return;
    }
    if (this.proxy.seesRequests) {
      for (const { start, head } of this.answers.find(chunk)) {
        const aim = this.awaited.get(head.readInt32BE(0));
        if (aim === undefined) continue;
        // Half: the size and the correlation id arrive, the rest does not.
        const passed = Math.max(0, start) + (aim.cut === 'half answer' ? 4 + CORRELATION_BYTES : 0);
        this.down.push(chunk.subarray(0, passed), () => this.endAfterWrite());
        this.proxy.fell(aim);
        return;
      }
    }
    this.down.push(chunk);
  }

  /** What was written still reaches the client; then the connection is gone. */
  private endAfterWrite(): void {
    this.client.end(() => this.cut());
  }
}
