/**
 * Owns objects kept in S3, or in a service that speaks its protocol. Loaded only where a place is `s3://…`: the SDK takes
 * about 80 ms and 30 MiB a thread.
 * Neighbours: `s3-requests.ts` retries and bounds, `s3-errors.ts` says what an answer means.
 *
 * Invariants:
 *   O1 Everything moves in parts of at most `partBytes`, each a request of its own that can be repeated: memory is
 *      bounded by `slots` parts, and hashing one (SigV4 signs a body's SHA-256, which the service checks) holds the
 *      thread for some ms. No streamed bodies and no trailing checksums: not every vendor takes those.
 *   O2 An object appears whole or not at all: one PUT, or a multipart upload that is completed last. One that failed is
 *      aborted; what a crash leaves goes by the bucket's lifecycle rule (docs/OPERATIONS.md).
 *   O3 The parts of a download are of one object: later ones ask for the first one's ETag.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { StreamError, whileDoing } from '../../stream/errors.js';
import { checkObjectName } from '../../stream/object-names.js';
import type { Clock, ObjectStore } from '../../stream/ports.js';
import { removeFile } from './durable-files.js';
import { inLanes } from './lanes.js';
import { nameOf, statusOf } from './s3-errors.js';
import { S3Requests } from './s3-requests.js';

/** The least that S3 takes as a part. */
const PART_BYTES = 5 * 1024 * 1024;
const MAX_PARTS = 10_000;
/** Requests under way at once. */
const SLOTS = 4;
const CONNECT_TIMEOUT_MS = 5_000;

export interface S3Options {
  readonly bucket: string;
  /** Put before every name, with a '/' between; may be empty. */
  readonly prefix: string;
  /** Undefined: AWS's own of the region. */
  readonly endpoint?: string | undefined;
  /** Undefined: what the SDK finds in the environment; `us-east-1` where an endpoint is given. */
  readonly region?: string | undefined;
  /** Bucket in the path rather than in the host name. */
  readonly pathStyle: boolean;
  /** Undefined: the SDK's chain (environment, shared files, web identity, the machine's or the pod's role). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  readonly requestTimeoutMs: number;
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly random: () => number;
}

/** Opens no connection yet. */
export function s3Objects(options: S3Options): ObjectStore {
  return new S3Objects(options);
}

/** Where the bytes of an upload come from: a buffer or a file. */
interface Source {
  readonly sizeBytes: number;
  slice(from: number, to: number): Promise<Buffer>;
}

interface Part {
  readonly bytes: Buffer;
  readonly sizeBytes: number;
  readonly etag: string | undefined;
}

class S3Objects implements ObjectStore {
  readonly place: string;
  private readonly client: S3Client;
  private readonly requests: S3Requests;
  private readonly bucket: string;
  private readonly prefix: string;

  constructor(options: S3Options) {
    const { bucket, prefix, endpoint, region, credentials, requestTimeoutMs, deadlineMs } = options;
    this.bucket = bucket;
    this.prefix = prefix === '' ? '' : `${prefix}/`;
    this.place = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
    const usedRegion = region ?? (endpoint === undefined ? undefined : 'us-east-1');
    this.client = new S3Client({
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(usedRegion === undefined ? {} : { region: usedRegion }),
      ...(credentials === undefined ? {} : { credentials }),
      forcePathStyle: options.pathStyle,
      maxAttempts: 1,
      requestChecksumCalculation: 'WHEN_REQUIRED', // O1
      responseChecksumValidation: 'WHEN_REQUIRED', // whoever reads verifies a SHA-256 of its own
      requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS },
    });
    const patience = { requestTimeoutMs, deadlineMs, slots: SLOTS };
    this.requests = new S3Requests({ bucket, endpoint }, patience, options.clock, options.random);
  }

  put(name: string, bytes: Buffer): Promise<void> {
    return this.upload(name, { sizeBytes: bytes.length, slice: async (from, to) => bytes.subarray(from, to) });
  }

  async putFile(name: string, path: string): Promise<void> {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      await this.upload(name, { sizeBytes: size, slice: (from, to) => locally(path, () => readSlice(file, from, to)) });
    } finally {
      await file.close();
    }
  }

  async get(name: string): Promise<Buffer | null> {
    let whole: Buffer | null = null;
    const found = await this.download(name, async (bytes, at, sizeBytes) => {
      if (bytes.length === sizeBytes) whole = bytes;
      else {
        whole ??= Buffer.allocUnsafe(sizeBytes);
        bytes.copy(whole, at);
      }
    });
    return found ? whole : null;
  }

  async getFile(name: string, path: string): Promise<boolean> {
    const file = await open(path, 'wx');
    let found = false;
    try {
      found = await this.download(name, (bytes, at) => locally(path, () => writeSlice(file, bytes, at)));
    } finally {
      await file.close();
      if (!found) await removeFile(path);
    }
    return found;
  }

  sizeOf(name: string): Promise<number | null> {
    const Key = this.keyOf(name);
    return this.requests.make(`look for ${name} in`, async (abortSignal) => {
      try {
        const { ContentLength } = await this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key }), {
          abortSignal,
        });
        return ContentLength ?? 0;
      } catch (error) {
        if (statusOf(error) === 404) return null;
        throw error;
      }
    });
  }

  async list(prefix: string): Promise<readonly string[]> {
    const names: string[] = [];
    let token: string | undefined;
    do {
      const ContinuationToken = token;
      const page = await this.requests.make(`list ${prefix}… in`, (abortSignal) =>
        this.client.send(
          new ListObjectsV2Command({ Bucket: this.bucket, Prefix: this.prefix + prefix, ContinuationToken }),
          { abortSignal },
        ),
      );
      for (const { Key } of page.Contents ?? []) if (Key !== undefined) names.push(Key.slice(this.prefix.length));
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return names.sort();
  }

  async delete(names: readonly string[]): Promise<void> {
    // One by one: the request for many needs a checksum that vendors disagree about, and few go at a time.
    const keys = names.map((name) => ({ name, Key: this.keyOf(name) }));
    await inLanes(keys, SLOTS, async ({ name, Key }) => {
      await this.requests.make(`delete ${name} from`, (abortSignal) =>
        this.client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key }), { abortSignal }),
      );
    });
  }

  private async upload(name: string, source: Source): Promise<void> {
    const Key = this.keyOf(name);
    if (source.sizeBytes > PART_BYTES) return this.uploadParts(name, Key, source);
    await this.requests.make(`write ${name} to`, async (abortSignal) => {
      const Body = await source.slice(0, source.sizeBytes);
      await this.client.send(new PutObjectCommand({ Bucket: this.bucket, Key, Body }), { abortSignal });
    });
  }

  /** O2 */
  private async uploadParts(name: string, Key: string, source: Source): Promise<void> {
    const doing = `write ${name} to`;
    const target = { Bucket: this.bucket, Key };
    const { UploadId } = await this.requests.make(doing, (abortSignal) =>
      this.client.send(new CreateMultipartUploadCommand(target), { abortSignal }),
    );
    try {
      const partBytes = Math.max(PART_BYTES, Math.ceil(source.sizeBytes / MAX_PARTS));
      const etags = new Array<string | undefined>(Math.ceil(source.sizeBytes / partBytes));
      await inLanes([...etags.keys()], SLOTS, async (index) => {
        etags[index] = await this.requests.make(doing, async (abortSignal) => {
          const from = index * partBytes;
          const Body = await source.slice(from, Math.min(from + partBytes, source.sizeBytes));
          const part = new UploadPartCommand({ ...target, UploadId, PartNumber: index + 1, Body });
          return (await this.client.send(part, { abortSignal })).ETag;
        });
      });
      const Parts = etags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }));
      await this.requests.make(doing, async (abortSignal, tries) => {
        const complete = new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } });
        try {
          await this.client.send(complete, { abortSignal });
        } catch (error) {
          // A try before this one may have completed it, and only its answer was lost.
          if (
            tries === 1 ||
            nameOf(error) !== 'NoSuchUpload' ||
            !(await this.holds(Key, source.sizeBytes, abortSignal))
          ) {
            throw error;
          }
        }
      });
    } catch (error) {
      await this.requests
        .make(doing, (abortSignal) =>
          this.client.send(new AbortMultipartUploadCommand({ ...target, UploadId }), { abortSignal }),
        )
        .catch(() => {}); // why the upload failed is told; its parts go by the lifecycle rule
      throw error;
    }
  }

  private async holds(Key: string, sizeBytes: number, abortSignal: AbortSignal): Promise<boolean> {
    const head = await this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key }), { abortSignal });
    return head.ContentLength === sizeBytes;
  }

  /** Hands over the object's parts in any order, at most `SLOTS` at once; an empty object is one empty part. */
  private async download(
    name: string,
    onPart: (bytes: Buffer, at: number, sizeBytes: number) => Promise<void>,
  ): Promise<boolean> {
    const Key = this.keyOf(name);
    const doing = `read ${name} from`;
    const first = await this.requests.make(doing, async (abortSignal) => {
      const part = await this.readPart(name, Key, 0, undefined, abortSignal);
      if (part !== null) await onPart(part.bytes, 0, part.sizeBytes);
      return part === null ? null : { at: part.bytes.length, sizeBytes: part.sizeBytes, etag: part.etag };
    });
    if (first === null) return false;
    const starts: number[] = [];
    for (let at = first.at; at < first.sizeBytes; at += PART_BYTES) starts.push(at);
    await inLanes(starts, SLOTS, (at) =>
      this.requests.make(doing, async (abortSignal) => {
        const part = await this.readPart(name, Key, at, first.etag, abortSignal); // O3
        if (part?.bytes.length !== Math.min(PART_BYTES, first.sizeBytes - at)) throw this.changed(name);
        await onPart(part.bytes, at, first.sizeBytes); // within the slot: O1
      }),
    );
    return true;
  }

  /** Null where there is no such object. */
  private async readPart(
    name: string,
    Key: string,
    from: number,
    etag: string | undefined,
    abortSignal: AbortSignal,
  ): Promise<Part | null> {
    const get = new GetObjectCommand({
      Bucket: this.bucket,
      Key,
      Range: `bytes=${from}-${from + PART_BYTES - 1}`,
      ...(etag === undefined ? {} : { IfMatch: etag }),
    });
    let answer: GetObjectCommandOutput;
    try {
      answer = await this.client.send(get, { abortSignal });
    } catch (error) {
      if (nameOf(error) === 'NoSuchKey') return null;
      // An empty object has no range to give.
      if (from === 0 && statusOf(error) === 416) return { bytes: Buffer.alloc(0), sizeBytes: 0, etag: undefined };
      if (statusOf(error) === 412) throw this.changed(name);
      throw error;
    }
    const bytes = await bodyOf(answer, abortSignal);
    const total = /\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1];
    return { bytes, sizeBytes: total === undefined ? bytes.length : Number(total), etag: answer.ETag };
  }

  private changed(name: string): StreamError {
    return new StreamError(
      'object-store-refused',
      `${name} in ${this.place} changed while it was read. Nobody but this pipeline may write there.`,
    );
  }

  private keyOf(name: string): string {
    return this.prefix + checkObjectName(name);
  }
}

/** Reads the whole body, or fails where it breaks off or the time is up. */
async function bodyOf(answer: GetObjectCommandOutput, abortSignal: AbortSignal): Promise<Buffer> {
  const body = answer.Body as Readable | undefined; // in Node
  if (body === undefined) return Buffer.alloc(0);
  const chunks: Buffer[] = [];
  for await (const chunk of addAbortSignal(abortSignal, body)) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  if (answer.ContentLength === undefined || answer.ContentLength === bytes.length) return bytes;
  throw Object.assign(new Error(`${bytes.length} of ${answer.ContentLength} bytes came`), { code: 'ECONNRESET' });
}

/** Trouble with a file of this machine is none of the service's: it is not tried again, and told by the file's path. */
async function locally<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw whileDoing(error, 'object-store-local-file', `Cannot move ${path} (check space and rights of its disk)`);
  }
}

async function readSlice(file: FileHandle, from: number, to: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(to - from);
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at);
    if (bytesRead === 0) throw new Error('it became shorter while it was sent');
    at += bytesRead;
  }
  return bytes;
}

async function writeSlice(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, at + written);
    written += bytesWritten;
  }
}
