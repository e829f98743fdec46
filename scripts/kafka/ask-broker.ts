/**
 * Owns the two questions to brokers that no client here asks for us: who coordinates a group or transactional id, and
 * electing preferred leaders. Written out by hand (KIP-98, KIP-460), over a connection of its own for each question.
 * Neighbour: `cluster.ts` asks. Erasable TypeScript without imports from src, so that Node runs it as it is.
 */
import { createConnection } from 'node:net';

const FIND_COORDINATOR = 10;
const ELECT_LEADERS = 43;
const ANSWER_MS = 15_000;
const CLIENT = 'cluster';
/** ELECTION_NOT_NEEDED: the leader is the preferred one already. */
const NOT_NEEDED = 84;

/** Node id of the coordinator. Errors: no answer, or the broker's code. */
export async function findCoordinator(port: number, kind: 'group' | 'transaction', name: string): Promise<number> {
  const answer = await ask(port, FIND_COORDINATOR, 1, [text(name), int8(kind === 'group' ? 0 : 1)]);
  // Throttle time, error code, error message, node.
  const code = answer.readInt16BE(4);
  if (code !== 0) throw new Error(`the coordinator of ${kind} ${name} is not known: Kafka's error ${code}`);
  const messageBytes = Math.max(0, answer.readInt16BE(6));
  return answer.readInt32BE(8 + messageBytes);
}

/** Makes the first replica of each partition its leader. Tells how many leaders changed. Errors: the broker's code. */
export async function electPreferredLeaders(
  port: number,
  partitions: ReadonlyMap<string, readonly number[]>,
): Promise<number> {
  const topics = [...partitions].flatMap(([topic, numbers]) => [
    text(topic),
    int32(numbers.length),
    ...numbers.map(int32),
  ]);
  const answer = await ask(port, ELECT_LEADERS, 1, [int8(0), int32(partitions.size), ...topics, int32(ANSWER_MS)]);
  const code = answer.readInt16BE(4);
  if (code !== 0) throw new Error(`leaders could not be elected: Kafka's error ${code}`);
  return electedIn(answer);
}

function electedIn(answer: Buffer): number {
  let at = 6;
  let elected = 0;
  const next = (bytes: number) => {
    at += bytes;
    return at - bytes;
  };
  for (let topics = answer.readInt32BE(next(4)); topics > 0; topics--) {
    next(answer.readInt16BE(next(2)));
    for (let left = answer.readInt32BE(next(4)); left > 0; left--) {
      const partition = answer.readInt32BE(next(4));
      const code = answer.readInt16BE(next(2));
      next(Math.max(0, answer.readInt16BE(next(2))));
      if (code === 0) elected += 1;
      else if (code !== NOT_NEEDED) throw new Error(`partition ${partition} has no new leader: Kafka's error ${code}`);
    }
  }
  return elected;
}

/** The answer's body, behind its correlation id. Versions before the flexible ones alone. */
function ask(port: number, apiKey: number, version: number, body: readonly Buffer[]): Promise<Buffer> {
  const content = Buffer.concat([int16(apiKey), int16(version), int32(1), text(CLIENT), ...body]);
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    let received = Buffer.alloc(0);
    const fail = (error: Error) => {
      socket.destroy();
      reject(new Error(`no answer from the broker on port ${port}: ${error.message}`, { cause: error }));
    };
    socket.setTimeout(ANSWER_MS + 5_000, () => fail(new Error('it took too long')));
    socket.once('error', fail);
    socket.once('close', () => fail(new Error('it closed the connection')));
    socket.once('connect', () => socket.write(Buffer.concat([int32(content.length), content])));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return;
      resolve(received.subarray(8, 4 + received.readInt32BE(0)));
      socket.destroy();
    });
  });
}

function int8(value: number): Buffer {
  const bytes = Buffer.alloc(1);
  bytes.writeInt8(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const text = (value: string) => Buffer.concat([int16(Buffer.byteLength(value)), Buffer.from(value)]);
