/**
 * Owns making a worker thread of a running service die, as a defect would: an error that nobody catches, thrown inside
 * it through Node's inspector (`node --inspect`). The service itself has no such door. Neighbour: `signals.test.ts`.
 */
interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly sessionId?: string; readonly workerInfo?: { readonly title?: string } };
}

const CRASH = `setImmediate(() => { throw new Error('struck by a test') })`;

export class WorkerStrike {
  private lastId = 0;
  private readonly sessions: string[] = [];

  private constructor(private readonly socket: WebSocket) {
    socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(String(data)) as Message;
      const session = message.params?.sessionId;
      if (message.method === 'NodeWorker.attachedToWorker' && session !== undefined) this.sessions.push(session);
    });
  }

  /** Connects to the inspector of a process whose workers run. */
  static async open(address: string): Promise<WorkerStrike> {
    const socket = new WebSocket(address);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('open', () => resolve());
      socket.addEventListener('error', () => reject(new Error(`no inspector at ${address}`)));
    });
    const strike = new WorkerStrike(socket);
    strike.send('NodeWorker.enable', { waitForDebuggerOnStart: false });
    return strike;
  }

  /** Throws in the worker that was the `index`th to be seen, counted from 0. */
  async throwInWorker(index: number): Promise<void> {
    for (let tries = 0; this.sessions.length <= index; tries++) {
      if (tries > 250) throw new Error(`There is no worker ${index}.`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression: CRASH } });
    this.send('NodeWorker.sendMessageToWorker', { sessionId: this.sessions[index], message });
  }

  close(): void {
    this.socket.close();
  }

  private send(method: string, params: object): void {
    this.socket.send(JSON.stringify({ id: ++this.lastId, method, params }));
  }
}
