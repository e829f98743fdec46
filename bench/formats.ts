/**
 * Owns `npm run bench -- formats`: the pipeline's rate on payments in Avro beside its rate on the same payments in JSON.
 * Runs take turns on one broker, so that both meet the same noise. Avro comes in two schema versions, through a real
 * registry. Neighbours: `kafka-bench.ts` measures one run, `main.ts` prints.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import avro from 'avsc';
import { projectRoot } from '../scripts/prove/project.js';
import { PAYMENT_AVRO } from '../src/fraud/payments/decode-avro-schema.js';
import { parsePayment } from '../src/fraud/payments/decode-json.js';
import { InvalidPaymentError } from '../src/fraud/payments/refusal.js';
import type { OutputRecord } from '../src/stream/records.js';
import { type JobParts, pipelineJob } from './jobs.js';
import type { Job, KafkaBench, Throughput } from './kafka-bench.js';
import type { Workload } from './workload.js';

export interface FormatFigures {
  readonly json: Throughput;
  readonly avro: Throughput;
  /** Avro's rate as a share of JSON's, and its CPU seconds, both over the second halves of the runs. */
  readonly rateShare: number;
  readonly cpuShare: number;
}

export interface FormatBench {
  readonly bench: KafkaBench;
  readonly parts: JobParts;
  readonly riskUrl: string;
  readonly load: Workload;
  readonly payments: number;
  readonly runs: number;
  readonly directory: string;
  readonly registryPort: number;
  say(line: string): void;
}

const SECOND_VERSION = {
  ...PAYMENT_AVRO,
  fields: [...PAYMENT_AVRO.fields, { name: 'loyaltyTier', type: ['null', 'string'], default: null }],
};

/** The medians of `runs` runs of each. */
export async function benchFormats(options: FormatBench): Promise<FormatFigures> {
  const { bench, load, payments, runs, say } = options;
  // Node runs this file as it is; its own folder tells it where the registry lies.
  const source = pathToFileURL(join(projectRoot, 'scripts', 'registry', 'apicurio.ts')).href;
  const { startRegistry, registerSchema } = (await import(source)) as typeof import('../scripts/registry/apicurio.js');
  const registry = await startRegistry({
    port: options.registryPort,
    output: join(options.directory, 'registry.log'),
  });
  try {
    const ids = [];
    for (const schema of [PAYMENT_AVRO, SECOND_VERSION]) {
      ids.push(await registerSchema(registry.url, 'bench-value', schema));
    }
    const flags = ['--payments-format', 'avro', '--registry-url', registry.url];
    const json = pipelineJob(options.parts, options.riskUrl);
    const jobs: readonly [Job, Workload, Throughput[]][] = [
      [json, load, []],
      [withFlags(json, flags), inAvro(load, ids), []],
    ];
    for (let run = 0; run < runs; run++) {
      for (const [job, workload, results] of jobs) {
        const measured = await bench.throughput(job, workload, payments);
        results.push(measured);
        say(
          `${job.name}: ${measured.secondHalfPerSecond} payments/s, ${measured.secondHalfCpuPerMillion} CPU-s per million (second half), ${measured.alerts} alerts, ${measured.deadLetters} dead letters, load ${measured.load}`,
        );
      }
    }
    const [ofJson, ofAvro] = jobs.map(([, , results]) => median(results));
    return {
      json: ofJson,
      avro: ofAvro,
      rateShare: share(ofAvro.secondHalfPerSecond, ofJson.secondHalfPerSecond),
      cpuShare: share(ofAvro.secondHalfCpuPerMillion, ofJson.secondHalfCpuPerMillion),
    };
  } finally {
    await registry.kill();
  }
}

const share = (value: number, of: number) => Math.round((value / of) * 1_000) / 1_000;

const median = (results: readonly Throughput[]): Throughput =>
  [...results].sort((a, b) => a.secondHalfPerSecond - b.secondHalfPerSecond)[Math.floor(results.length / 2)];

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
