/**
 * Owns an S3 server for tests, in the test's own process and memory. It knows one access key (what is signed with it is
 * not verified), can be stopped and started again on its port, and be told to answer wrongly.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { buildApp } from 'fauxqs';
import { type S3Options, s3Objects } from '../../src/adapters/object-storage/s3-objects.js';
import type { ObjectStore } from '../../src/stream/ports.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';

/** The one account that the server knows. */
export const S3_CREDENTIALS = { accessKeyId: 'known-key', secretAccessKey: 'secret-of-the-known-key' } as const;
const KNOWN = new RegExp(`Credential=${S3_CREDENTIALS.accessKeyId}/`);

/** Whether it answers the request itself; else the server does. */
export type Interference = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface S3Server {
  readonly endpoint: string;
  /** Method and path of every request since the start, in order. */
  readonly requests: string[];
  interfere: Interference;
  addBucket(name: string): Promise<void>;
  /** Refuses connections, and cuts those that are open. */
  stop(): Promise<void>;
  startAgain(): Promise<void>;
  close(): Promise<void>;
}

export async function startS3Server(port: number): Promise<S3Server> {
  const app = buildApp({ logger: false });
  await app.ready();
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    server.requests.push(`${request.method} ${request.url}`);
    if (!KNOWN.test(request.headers.authorization ?? '')) refuse(response, 403, 'InvalidAccessKeyId');
    else if (!server.interfere(request, response)) app.routing(request, response);
  };
  let listener = await listening(port, onRequest);
  const used = (listener.address() as AddressInfo).port;
  const server: S3Server = {
    endpoint: `http://127.0.0.1:${used}`,
    requests: [],
    interfere: () => false,
    addBucket: (name) => makeBucket(server.endpoint, name),
    stop: () => stopped(listener),
    startAgain: async () => {
      listener = await listening(used, onRequest);
    },
    close: async () => {
      await stopped(listener);
      await app.close();
    },
  };
  return server;
}

/** Answers as S3 does when it refuses. */
export function refuse(response: ServerResponse, status: number, code: string): boolean {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>refused by the test</Message></Error>`);
  return true;
}

async function makeBucket(endpoint: string, name: string): Promise<void> {
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: S3_CREDENTIALS });
  await client.send(new CreateBucketCommand({ Bucket: name }));
  client.destroy();
}

/** Objects in a bucket of the server, with as little patience as tests have. */
export function objectsOn(endpoint: string, bucket: string, options: Partial<S3Options> = {}): ObjectStore {
  return s3Objects({
    bucket,
    prefix: 'pipelines/a',
    endpoint,
    pathStyle: true,
    credentials: S3_CREDENTIALS,
    requestTimeoutMs: 5_000,
    deadlineMs: 1_000,
    clock: systemClock,
    random: Math.random,
    ...options,
  });
}

async function listening(
  port: number,
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Server> {
  const server = createServer(onRequest);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return server;
}

async function stopped(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
