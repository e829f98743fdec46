/**
 * Owns `npm run bench -- formats`: the pipeline's rate on payments in Avro beside its rate on the same payments in JSON.
 * Runs take turns on one broker, so that both meet the same noise. Avro comes in two schema versions, through a real
 * registry. Neighbours: `log-bench.ts` measures one run, `main.ts` prints.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import avro from 'avsc';
import { projectRoot } from '../scripts/prove/project.js';
import { PAYMENT_AVRO } from '../src/fraud/payments/decode-avro-schema.js';
import { parsePayment } from '../src/fraud/payments/decode-json.js';
import { InvalidPaymentError } from '../src/fraud/payments/refusal.js';
import type { OutputRecord } from '../src/stream/records.js';
import { type Bench, type BenchPlace, type BenchResult, median } from './bench.js';
import { makeJob, workloadOf } from './job-files.js';
import type { Job, Throughput } from './log-bench.js';
import type { Workload } from './workload.js';

export const formatsBench: Bench = {
  name: 'formats',
  summary: 'the detector on payments in Avro beside the same in JSON, with a real schema registry',
  run: measure,
};

const REGISTRY_PORT = 18_085;

const SECOND_VERSION = {
  ...PAYMENT_AVRO,
  fields: [...PAYMENT_AVRO.fields, { name: 'loyaltyTier', type: ['null', 'string'], default: null }],
};

/** The medians of the runs of each. */
async function measure(place: BenchPlace): Promise<BenchResult> {
  const { say, options } = place;
  const bench = await place.kafkaBench();
  const load = workloadOf(place, 'pipeline');
  // Node runs this file as it is; its own folder tells it where the registry lies.
  const source = pathToFileURL(join(projectRoot, 'scripts', 'registry', 'apicurio.ts')).href;
  const { startRegistry, registerSchema } = (await import(source)) as typeof import('../scripts/registry/apicurio.js');
  const registry = await startRegistry({
    port: REGISTRY_PORT,
    output: join(place.directory, 'registry.log'),
  });
  try {
    const ids = [];
    for (const schema of [PAYMENT_AVRO, SECOND_VERSION]) {
      ids.push(await registerSchema(registry.url, 'bench-value', schema));
    }
    const flags = ['--payments-format', 'avro', '--registry-url', registry.url];
    const json = await makeJob(place, 'pipeline');
    const jobs: readonly [Job, Workload, Throughput[]][] = [
      [json, load, []],
      [withFlags(json, flags), inAvro(load, ids), []],
    ];
    for (let run = 0; run < options.runs; run++) {
      for (const [job, workload, results] of jobs) {
        const measured = await bench.throughput(job, workload, options.payments);
        results.push(measured);
        say(
          `${job.name}: ${measured.secondHalfPerSecond} payments/s, ${measured.secondHalfCpuPerMillion} CPU-s per million (second half), ${measured.alerts} alerts, ${measured.deadLetters} dead letters, load ${measured.load}`,
        );
      }
    }
    const [ofJson, ofAvro] = jobs.map(([, , results]) => median(results, (run) => run.secondHalfPerSecond).middle);
    // Over the second halves of the runs.
    const rateShare = share(ofAvro.secondHalfPerSecond, ofJson.secondHalfPerSecond);
    const cpuShare = share(ofAvro.secondHalfCpuPerMillion, ofJson.secondHalfCpuPerMillion);
    return {
      figures: { json: ofJson, avro: ofAvro, rateShare, cpuShare },
      rows: [
        { format: 'JSON', '2nd half/s': ofJson.secondHalfPerSecond, 'CPU-s/M': ofJson.secondHalfCpuPerMillion },
        {
          format: 'Avro',
          '2nd half/s': ofAvro.secondHalfPerSecond,
          'CPU-s/M': ofAvro.secondHalfCpuPerMillion,
          'of JSON': rateShare,
        },
      ],
    };
  } finally {
    await registry.kill();
  }
}

const share = (value: number, of: number) => Math.round((value / of) * 1_000) / 1_000;

function withFlags(job: Job, flags: readonly string[]): Job {
  return {
    name: `${job.name}-avro`,
    service: (run, topics, directory) => {
      const { script, args } = job.service(run, topics, directory);
      return { script, args: [...args, ...flags] };
    },
  };
}

/** The same payments in Avro, the schema versions taken in turn; malformed ones are cut off. */
function inAvro(load: Workload, ids: readonly number[]): Workload {
  const types = [PAYMENT_AVRO, SECOND_VERSION].map((schema) => avro.Type.forSchema(schema as unknown as avro.Schema));
  let count = 0;
  const convert = (record: OutputRecord): OutputRecord => {
    const version = count++ % ids.length;
    const head = Buffer.alloc(5);
    head.writeUInt32BE(ids[version], 1);
    return { ...record, value: Buffer.concat([head, bodyOf(types[version], record.value)]) };
  };
  return {
    name: `${load.name} in Avro`,
    async *batches(topic, limit) {
      for await (const records of load.batches(topic, limit)) yield records.map(convert);
    },
  };
}

function bodyOf(type: avro.Type, json: Buffer | null): Buffer {
  const absent = Object.fromEntries(PAYMENT_AVRO.fields.map(({ name }) => [name, null]));
  try {
    return type.toBuffer({ ...absent, loyaltyTier: null, ...parsePayment(json ?? Buffer.alloc(0)) });
  } catch (error) {
    if (error instanceof InvalidPaymentError) return Buffer.from([8, 0x61]);
    throw error;
  }
}
