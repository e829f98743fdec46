/**
 * Owns what a benchmark is: a name, what it prints, and the surroundings it measures in (a broker of its own, started
 * only if asked for; a merchant-risk service; a scratch directory).
 * Neighbours: `main.ts` holds the list and prints; each benchmark has a file.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { openKafkaBackend } from '../src/adapters/kafka/backend.js';
import {
  type MerchantRiskService,
  startMerchantRiskService,
} from '../src/adapters/merchant-risk-http/merchant-risk-service.js';
import { hash32 } from '../src/stream/state/key-index.js';
import type { JobParts } from './jobs.js';
import { LogBench } from './log-bench.js';

/** The command line's options, all of them given. */
export interface BenchOptions {
  readonly payments: number;
  readonly seconds: number | null;
  readonly rates: readonly number[] | null;
  readonly alerts: number;
  readonly runs: number;
  readonly partitions: number;
  readonly workers: number;
  readonly cards: readonly number[] | null;
  readonly file: string | null;
  readonly model: string | null;
  readonly threshold: number;
  readonly peers: string | null;
  readonly job: 'pipeline' | 'reference' | null;
}

/** One line of the table that people read; names are the same in every row of a table. */
export type Row = Readonly<Record<string, string | number>>;

export interface BenchResult {
  /** For programs: everything measured. */
  readonly figures: Readonly<Record<string, unknown>>;
  readonly rows: readonly Row[];
}

export interface Bench {
  readonly name: string;
  readonly summary: string;
  run(place: BenchPlace): Promise<BenchResult>;
}

/** Where a benchmark runs. What it starts is stopped by `close`, newest first. */
export class BenchPlace {
  private readonly closers: (() => Promise<unknown>)[] = [];
  private kafka: Promise<readonly string[]> | null = null;
  private risk: Promise<MerchantRiskService> | null = null;

  constructor(
    readonly options: BenchOptions,
    /** Empty, removed afterwards. */
    readonly directory: string,
    readonly say: (line: string) => void,
  ) {}

  /** Addresses of the broker, which is started on first use; `KAFKA_BROKERS` names another. */
  brokers(): Promise<readonly string[]> {
    this.kafka ??= this.startBroker();
    return this.kafka;
  }

  /** Risks as the model knows them: most merchants near nothing, one in fifty a bad one, so that there are alerts to time. */
  async riskUrl(): Promise<string> {
    this.risk ??= startMerchantRiskService({ latencyMs: 5, riskOf: benchRisk });
    const risk = await this.risk;
    if (this.closers.every((closer) => closer !== this.closeRisk)) this.closers.push(this.closeRisk);
    return risk.url;
  }

  /** Runs on Kafka with so many partitions. */
  async kafkaBench(partitions = this.options.partitions): Promise<LogBench> {
    const backend = await openKafkaBackend({
      brokers: await this.brokers(),
      clientId: 'bench',
      transactionalIdPrefix: 'bench',
      transactions: 'auto',
    });
    const bench = new LogBench(backend, partitions, this.directory);
    this.closers.push(() => bench.close());
    return bench;
  }

  async jobParts(partitions = this.options.partitions): Promise<JobParts> {
    return { brokers: await this.brokers(), partitions, workers: this.options.workers };
  }

  async close(): Promise<void> {
    for (const close of this.closers.splice(0).reverse()) await close();
  }

  private readonly closeRisk = async (): Promise<void> => (await this.risk)?.close();

  private async startBroker(): Promise<readonly string[]> {
    const named = process.env.KAFKA_BROKERS?.split(',').filter(Boolean) ?? [];
    if (named.length > 0) return named;
    const { startBroker } = (await import(
      new URL('../scripts/kafka/broker.js', import.meta.url).href
    )) as typeof import('../scripts/kafka/broker.js');
    const broker = await startBroker({
      directory: join(this.directory, 'kafka'),
      port: 19_592,
      clean: true,
      heapMb: 1024,
    });
    this.closers.push(() => broker.stop());
    return broker.brokers;
  }
}

/** The checkout's commit, with a mark where files differ from it. */
export function commit(): string {
  try {
    const hash = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
    const changed = execFileSync('git', ['status', '--porcelain', '--untracked-files=no'], { encoding: 'utf8' });
    return changed.trim() === '' ? hash : `${hash}+`;
  } catch {
    return 'unknown';
  }
}

/** The middle one by `of`, with the lowest and highest. */
export function median<T>(runs: readonly T[], of: (run: T) => number): { middle: T; lowest: number; highest: number } {
  const sorted = [...runs].sort((a, b) => of(a) - of(b));
  return {
    middle: sorted[Math.floor(sorted.length / 2)],
    lowest: of(sorted[0]),
    highest: of(sorted[sorted.length - 1]),
  };
}

function benchRisk(merchantId: string): number {
  const bytes = Buffer.from(merchantId);
  return (hash32(bytes, 0, bytes.length) >>> 0) % 50 === 0 ? 0.9 : 0.005;
}
