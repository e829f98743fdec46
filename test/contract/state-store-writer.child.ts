/**
 * The process that the tests of the RocksDB store kill: writes batches of 50 keys, each stamped with one generation,
 * and says "acknowledged <generation>" only after the store did.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { rocksDbStateStore } from '../../src/adapters/rocksdb/rocksdb-state-store.js';

const [directory, batches] = parentPort === null ? process.argv.slice(2) : workerData;
const store = await rocksDbStateStore({ writeBufferBytes: 1024 * 1024 })(directory);
const say = (line: string) => (parentPort === null ? process.stdout.write(`${line}\n`) : parentPort.postMessage(line));
say('opened');
for (let generation = 1; generation <= Number(batches); generation++) {
  const value = Buffer.alloc(400, 7);
  value.writeUInt32LE(generation);
  await store.writeBatch(Array.from({ length: 50 }, (_, i) => ({ key: Buffer.from(`key-${i}`), value })));
  say(`acknowledged ${generation}`);
}
setInterval(() => undefined, 1_000); // hold the store open until killed
