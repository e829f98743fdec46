/**
 * Owns one benchmark run on a log, whatever the job: topics of its own, the load, a service process, and what is
 * measured of it. Throughput is over a pre-loaded topic; latency over a paced one, from a payment's Kafka time to its
 * alert in the hands of a read-committed reader in another process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogBackend, RecordWriter } from '../src/stream/ports.js';
import { type OutputRecord, RecordBatch } from '../src/stream/records.js';
import { loadAverage, quantile } from './process-figures.js';
import { ServiceUnderTest } from './service-under-test.js';
import type { Workload } from './workload.js';

export interface JobTopics {
  readonly payments: string;
  readonly alerts: string;
  readonly deadLetters: string;
  readonly stateLog: string;
  readonly riskTable: string;
}

export interface Job {
  readonly name: string;
  /** The service's script and arguments for one run. */
  service(
    run: string,
    topics: JobTopics,
    directory: string,
  ): { readonly script: string; readonly args: readonly string[] };
}

export interface Throughput {
  readonly payments: number;
  readonly paymentsPerSecond: number;
  readonly secondHalfPerSecond: number;
  /** User and system seconds of the whole process, from its start. */
  readonly cpuSecondsPerMillion: number;
  readonly secondHalfCpuPerMillion: number;
  readonly peakRssMiB: number;
  /** Read back after the run, committed ones alone. */
  readonly alerts: number;
  readonly deadLetters: number;
  readonly load: number;
}

export interface Latency {
  readonly ratePerSecond: number;
  /** What the feed achieved: below the rate, the machine was too busy for the figures to count. */
  readonly sentPerSecond: number;
  readonly alerts: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Cores that the service took meanwhile. */
  readonly cores: number;
  readonly load: number;
  /** From an epoch's close to its being durable, over the tasks' last epochs; null where the job does not tell. */
  readonly commitMs: { readonly p50: number; readonly p99: number } | null;
  readonly transactionsPerSecond: number | null;
}

/** What was measured while a service went from one count of payments to the next. */
export interface Phase {
  readonly from: number;
  readonly to: number;
  readonly paymentsPerSecond: number;
  readonly cpuPerMillion: number;
  readonly rssMiB: number;
}

const SLICE_MS = 10;

export class LogBench {
  constructor(
    private readonly backend: LogBackend,
    private readonly partitions: number,
    private readonly directory: string,
  ) {}

  close(): Promise<void> {
    return this.backend.close();
  }

  async throughput(job: Job, workload: Workload, limit: number): Promise<Throughput> {
    return this.onTopics(job, async (topics, start) => {
      const loaded = await this.load(workload, topics.payments, limit);
      const service = start();
      await service.until(({ payments }) => payments > 0, 60_000);
      const first = { at: performance.now(), payments: service.progress.payments };
      await service.until(({ payments }) => payments >= loaded / 2, 600_000);
      const half = { at: performance.now(), payments: service.progress.payments, cpu: service.cpuSeconds() };
      await service.until(({ payments, lag }) => payments >= loaded && lag === 0, 600_000);
      const end = { at: performance.now(), cpu: service.cpuSeconds() };
      const rest = loaded - half.payments;
      return {
        payments: loaded,
        paymentsPerSecond: Math.round(((loaded - first.payments) / (end.at - first.at)) * 1000),
        secondHalfPerSecond: Math.round((rest / (end.at - half.at)) * 1000),
        cpuSecondsPerMillion: round((end.cpu / loaded) * 1e6),
        secondHalfCpuPerMillion: round(((end.cpu - half.cpu) / rest) * 1e6),
        peakRssMiB: service.peakRssMiB(),
        alerts: await this.countRecords(topics.alerts),
        deadLetters: await this.countRecords(topics.deadLetters),
        load: loadAverage(),
      };
    });
  }

  /**
   * Loads all of `workload`, then measures the service from one of `marks` (counts of payments, rising) to the next, and
   * to the end.
   */
  async phases(
    job: Job,
    workload: Workload,
    marks: readonly number[],
    onMark: (phase: Phase) => void,
  ): Promise<readonly Phase[]> {
    return this.onTopics(job, async (topics, start) => {
      const loaded = await this.load(workload, topics.payments, Number.MAX_SAFE_INTEGER);
      const service = start();
      await service.until(({ payments }) => payments > 0, 60_000);
      let last = { at: performance.now(), payments: service.progress.payments, cpu: service.cpuSeconds() };
      const phases: Phase[] = [];
      for (const mark of [...marks, loaded]) {
        await service.until(({ payments, lag }) => payments >= mark && (mark < loaded || lag === 0), 3_600_000);
        const now = { at: performance.now(), payments: service.progress.payments, cpu: service.cpuSeconds() };
        const count = now.payments - last.payments;
        const phase = {
          from: last.payments,
          to: now.payments,
          paymentsPerSecond: Math.round((count / (now.at - last.at)) * 1000),
          cpuPerMillion: round(((now.cpu - last.cpu) / count) * 1e6),
          rssMiB: service.rssMiB(),
        };
        onMark(phase);
        phases.push(phase);
        last = now;
      }
      return phases;
    });
  }

  /** Runs a service on topics that stay empty. */
  async withService<T>(job: Job, use: (service: ServiceUnderTest) => Promise<T>): Promise<T> {
    return this.onTopics(job, (_, start) => use(start()));
  }

  async latency(job: Job, workload: Workload, ratePerSecond: number, seconds: number): Promise<Latency> {
    return this.onTopics(job, async (topics, start) => {
      // Warm first: code compiled, lookups cached, cards known.
      const warm = Math.min(200_000, ratePerSecond * 60);
      await this.load(workload, topics.payments, warm);
      const service = start();
      await service.until(({ payments, lag }) => payments >= warm && lag === 0, 300_000);
      await sleep(2_000);
      const startedAt = Date.now();
      const before = { cpu: service.cpuSeconds(), epochs: service.value('epochs'), at: performance.now() };
      const latencies: number[] = [];
      const reading = new AbortController();
      const readers = this.readAlerts(topics.alerts, startedAt, latencies, reading.signal);
      const sent = await this.pace(workload, topics.payments, ratePerSecond, seconds, warm);
      const took = (performance.now() - before.at) / 1000;
      const cores = round((service.cpuSeconds() - before.cpu) / took);
      const epochs = service.value('epochs');
      const [p50, p99] = ['commit-p50-ms', 'commit-p99-ms'].map((name) => service.value(name));
      await sleep(3_000);
      reading.abort();
      await readers;
      latencies.sort((a, b) => a - b);
      return {
        ratePerSecond,
        sentPerSecond: Math.round(sent / took),
        alerts: latencies.length,
        p50: round(quantile(latencies, 0.5)),
        p99: round(quantile(latencies, 0.99)),
        max: round(latencies.at(-1) ?? 0),
        cores,
        load: loadAverage(),
        commitMs: p50 === null || p99 === null ? null : { p50, p99 },
        transactionsPerSecond:
          epochs === null || before.epochs === null ? null : Math.round((epochs - before.epochs) / took),
      };
    });
  }

  /** Topics of the run's own, and whatever service is started on them: both are gone afterwards. */
  private async onTopics<T>(
    job: Job,
    use: (topics: JobTopics, start: () => ServiceUnderTest) => Promise<T>,
  ): Promise<T> {
    const run = runName(job);
    const topics = await this.makeTopics(run);
    const { script, args } = job.service(run, topics, `${this.directory}/${run}`);
    const services: ServiceUnderTest[] = [];
    try {
      return await use(topics, () => {
        const service = ServiceUnderTest.start(script, args);
        services.push(service);
        return service;
      });
    } finally {
      for (const service of services) await service.stop();
      await this.dropTopics(topics);
    }
  }

  private async load(workload: Workload, topic: string, limit: number): Promise<number> {
    const writer = await this.backend.openWriter();
    let loaded = 0;
    for await (const records of workload.batches(topic, limit)) {
      await writer.write(records);
      loaded += records.length;
    }
    await writer.close();
    return loaded;
  }

  /** Writes at a steady rate; the payments after the first `skip` ones. */
  private async pace(workload: Workload, topic: string, rate: number, seconds: number, skip: number): Promise<number> {
    const writer = await this.backend.openWriter();
    const queue: OutputRecord[] = [];
    const source = workload.batches(topic, skip + rate * seconds)[Symbol.asyncIterator]();
    let passed = 0;
    const startedAt = performance.now();
    let sent = 0;
    const pending: Promise<void>[] = [];
    while (sent < rate * seconds) {
      const due = Math.floor(((performance.now() - startedAt) / 1000) * rate) - sent;
      while (queue.length < due) {
        const { value, done } = await source.next();
        if (done === true) break;
        for (const record of value) if (++passed > skip) queue.push(record);
      }
      const slice = queue.splice(0, due);
      if (slice.length === 0 && due > 0) break;
      const now = Date.now();
      if (slice.length > 0) pending.push(writeAt(writer, slice, now));
      sent += slice.length;
      if (pending.length > 100) await Promise.all(pending.splice(0));
      await sleep(SLICE_MS);
    }
    await Promise.all(pending);
    await writer.close();
    return sent;
  }

  private async readAlerts(topic: string, since: number, latencies: number[], signal: AbortSignal): Promise<void> {
    const batch = new RecordBatch(1_000);
    await Promise.all(
      Array.from({ length: this.partitions }, async (_, partition) => {
        const reader = await this.backend.openReader({ topic, partition, from: 'latest' });
        const own = partition === 0 ? batch : new RecordBatch(1_000);
        while (!signal.aborted) {
          await reader.whenReadable(100);
          for (let count = reader.read(own); count > 0; count = reader.read(own)) {
            const now = Date.now();
            for (let i = 0; i < count; i++) {
              const { evidence } = JSON.parse(String(own.value(i))) as { evidence: { source: { timestamp: number } } };
              if (evidence.source.timestamp >= since) latencies.push(now - evidence.source.timestamp);
            }
          }
        }
        await reader.close();
      }),
    );
  }

  private async countRecords(topic: string): Promise<number> {
    const batch = new RecordBatch(1_000);
    let total = 0;
    for (let partition = 0; partition < this.partitions; partition++) {
      const reader = await this.backend.openReader({ topic, partition, from: 'earliest' });
      const end = await reader.endOffset();
      while (reader.position < end) {
        const count = reader.read(batch);
        total += count;
        if (count === 0 && reader.position < end) await reader.whenReadable(100);
      }
      await reader.close();
    }
    return total;
  }

  private async makeTopics(run: string): Promise<JobTopics> {
    const topics: JobTopics = {
      payments: `${run}-payments`,
      alerts: `${run}-alerts`,
      deadLetters: `${run}-dead-letters`,
      stateLog: `${run}-state`,
      riskTable: `${run}-risk-table`,
    };
    const admin = await this.backend.openAdmin();
    await admin.ensure(
      Object.values(topics).map((name) => ({
        name,
        partitions: name === topics.riskTable ? 1 : this.partitions,
        cleanup: name === topics.riskTable ? ('compact' as const) : ('delete' as const),
      })),
    );
    await admin.close();
    return topics;
  }

  private async dropTopics(topics: JobTopics): Promise<void> {
    const admin = await this.backend.openAdmin();
    await admin.delete(Object.values(topics));
    await admin.close();
  }
}

function writeAt(writer: RecordWriter, records: readonly OutputRecord[], timestampMs: number): Promise<void> {
  return writer.write(records.map((record) => ({ ...record, timestampMs })));
}

const runName = (job: Job) => `bench-${job.name}-${Date.now().toString(36)}`;
const round = (value: number) => Math.round(value * 100) / 100;
