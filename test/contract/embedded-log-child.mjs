/**
 * A program that other threads and processes run in the embedded log's tests, on a compiled copy of the sources.
 * Plain JavaScript, because nothing transforms what a child process loads. Settings come as one JSON argument, or as
 * worker data; it reports a line at a time: on standard output, or as messages to its parent thread.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';

const settings = isMainThread ? JSON.parse(process.argv[2]) : workerData;
const { openEmbeddedBackend } = await import(`${settings.build}/src/adapters/embedded-log/backend.js`);
const backend = await openEmbeddedBackend(settings.log);

// Synchronous, so that what was reported is reported even if the next moment is the last.
const report = (line) => (isMainThread ? writeSync(1, `${line}\n`) : parentPort.postMessage(line));
const record = (topic, partition, text) => ({
  topic,
  partition,
  key: null,
  value: Buffer.from(text),
  headers: [],
  timestampMs: 1,
});

/** Commits numbered epochs, going on behind what the state log says, until `epochs` or for ever. */
async function commitEpochs({ taskId, outputs, stateLog, epochs, paddingBytes = 0 }) {
  const log = await backend.openEpochLog({ taskId, stateLog });
  await log.fence();
  let last = -1;
  const { start } = await log.stateLogRange();
  await log.readStateLog(start, (value) => {
    last = Number(value.toString('latin1', 0, 8));
  });
  report(`resumed ${last}`);
  for (let n = last + 1; epochs === undefined || n < epochs; n++) {
    const number = String(n).padStart(8, '0');
    const padding = 'x'.repeat(Math.floor(Math.random() * (paddingBytes + 1)));
    await log.commit({
      outputs: outputs.map(([topic, partition]) => record(topic, partition, `${taskId} ${number}`)),
      stateLog: [Buffer.from(`${number} first ${padding}`), Buffer.from(`${number} second`)],
    });
    report(`acknowledged ${n}`);
  }
}

/** Writes numbered records outside epochs, `everyMs` apart, from the number given. */
async function writeRecords({ topic, partition, from, count, everyMs = 0 }) {
  const writer = await backend.openWriter();
  for (let n = from; count === undefined || n < from + count; n++) {
    await writer.write([record(topic, partition, `${n}`)]);
    report(`acknowledged ${n}`);
    if (everyMs > 0) await sleep(everyMs);
  }
}

await (settings.program === 'commit' ? commitEpochs(settings) : writeRecords(settings));
await backend.close();
report('done');
