/** Objects in S3 keep the contract. `object-store.s3-failures.test.ts` has what goes wrong. */
import { afterAll, beforeAll } from 'vitest';
import { objectsOn, type S3Server, startS3Server } from '../support/s3-server.js';
import { describeObjectStore } from './object-store.contract.js';

const PORT = 19_555;
let server: S3Server;
let made = 0;
beforeAll(async () => {
  server = await startS3Server(PORT);
});
afterAll(() => server.close());

describeObjectStore('S3', async () => {
  const bucket = `contract-${made++}`;
  await server.addBucket(bucket);
  return objectsOn(server.endpoint, bucket);
});
