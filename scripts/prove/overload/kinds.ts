/**
 * Owns what overloads: a broker that takes and gives too little, a database that is slow, away or stands still, a lookup
 * that takes its time or never answers. Each goes on until it is ended. Neighbour: `proof.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import {
  type MerchantRiskService,
  startMerchantRiskService,
} from '../../../src/adapters/merchant-risk-http/merchant-risk-service.js';
import type { Stage } from '../cycles/stage.js';
import { provenMerchantRisk } from '../merchant-risk.js';

export const OVERLOADS = ['broker', 'database', 'lookup'] as const;
export type OverloadKind = (typeof OVERLOADS)[number];

export interface Overload {
  /** For people. */
  readonly what: string;
  /** Flags of the services. */
  readonly flags: readonly string[];
  readonly needsDatabase: boolean;
  /** Begins; goes on until what it returns is called. */
  begin(stage: Stage): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** A commit writes each card's whole state: this is far less than the feed needs. */
const BROKER_BYTES_PER_SECOND = 400_000;
const BROKER_DELAY_MS = 60;
/** Each alert's row takes so long, alone: fifty a second are far less than come, and 500 are within a statement's time. */
const ROW_SECONDS = 0.02;
const SLOW_MS = 60_000;
const AWAY_MS = 10_000;
const STANDS_STILL_FOR_MS = 10_000;
const STANDS_STILL_MS = 1_500;
const RUNS_MS = 150;
const LOOKUP_MS = { ordinary: 5, slow: 1_900 } as const;
/** Less than a slow answer takes: each batch has to wait for some. */
const REMEMBERED_MS = 1_000;
const LOOKUP_TIMEOUT_MS = 4_000;
const ANSWERS_MS = 20_000;
const HANGS_MS = 4_000;
/** Lookups in a row: more than there will be. */
const NEVER = 100_000;

export function openOverload(kind: OverloadKind): Promise<Overload> {
  switch (kind) {
    case 'broker':
      return Promise.resolve(slowBroker);
    case 'database':
      return Promise.resolve(slowDatabase);
    case 'lookup':
      return slowLookup();
  }
}

const slowBroker: Overload = {
  what: `broker: ${BROKER_BYTES_PER_SECOND / 1_000} kB/s each way, ${BROKER_DELAY_MS} ms later each way`,
  // Epochs must fit through within their deadline.
  flags: ['--batch-max-records=512', '--epoch-max-payments=2000'],
  needsDatabase: false,
  async begin({ arena: { proxy } }) {
    if (proxy === null) throw new Error('no proxy stands before the broker');
    proxy.limit({ toBrokerBytesPerSecond: BROKER_BYTES_PER_SECOND, toClientBytesPerSecond: BROKER_BYTES_PER_SECOND });
    proxy.delay({ toBrokerMs: BROKER_DELAY_MS, toClientMs: BROKER_DELAY_MS });
    return async () => proxy.calm();
  },
  close: async () => {},
};

const slowDatabase: Overload = {
  what: `database: ${ROW_SECONDS * 1_000} ms a row for ${SLOW_MS / 1_000} s, then stopped for ${AWAY_MS / 1_000} s, then slow and standing still nine tenths of the time for ${STANDS_STILL_FOR_MS / 1_000} s, and so on`,
  flags: [],
  needsDatabase: true,
  async begin({ arena: { postgres } }) {
    if (postgres === null) throw new Error('there is no database');
    await slowDown(postgres.url);
    return repeated(async (pause) => {
      await pause(SLOW_MS);
      await postgres.stopAtOnce();
      await pause(AWAY_MS);
      await postgres.start();
      for (let left = STANDS_STILL_FOR_MS; left > 0; left -= STANDS_STILL_MS + RUNS_MS) {
        await postgres.pause();
        await pause(STANDS_STILL_MS);
        await postgres.resume();
        await pause(RUNS_MS);
      }
    });
  },
  close: async () => {},
};

/** From now on each row of an alert is waited for. */
async function slowDown(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`
      CREATE FUNCTION slowed() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(${ROW_SECONDS}); RETURN NEW; END $$;
      CREATE TRIGGER slowed BEFORE INSERT ON alerts FOR EACH ROW EXECUTE FUNCTION slowed();
    `);
  } finally {
    await client.end();
  }
}

async function slowLookup(): Promise<Overload> {
  const service: MerchantRiskService = await startMerchantRiskService({
    latencyMs: LOOKUP_MS.ordinary,
    riskOf: provenMerchantRisk,
  });
  return {
    what: `lookup: answers after ${LOOKUP_MS.slow} ms for ${ANSWERS_MS / 1_000} s, never for ${HANGS_MS / 1_000} s, and so on; it is never cut off`,
    flags: [
      `--merchant-risk-url=${service.url}`,
      `--merchant-risk-timeout-ms=${LOOKUP_TIMEOUT_MS}`,
      `--merchant-risk-cache-expiry-ms=${REMEMBERED_MS}`,
      // Else a service that does not answer is not asked any more, and all goes fast.
      `--merchant-risk-breaker-consecutive-failures=${NEVER}`,
      `--merchant-risk-breaker-window=${NEVER}`,
      `--merchant-risk-breaker-min-outcomes=${NEVER}`,
      // Each batch waits for its lookups: so many records of a partition in the time of one.
      '--batch-max-records=512',
    ],
    needsDatabase: false,
    async begin() {
      service.behave({ latencyMs: LOOKUP_MS.slow });
      return repeated(async (pause) => {
        service.behave({ hang: false });
        await pause(ANSWERS_MS);
        service.behave({ hang: true });
        await pause(HANGS_MS);
      });
    },
    close: () => service.close(),
  };
}

/** Plays a round again and again. What it returns ends the pauses, waits for the round's end, and tells its failure. */
function repeated(round: (pause: (ms: number) => Promise<void>) => Promise<void>): () => Promise<void> {
  const ending = new AbortController();
  const { signal } = ending;
  const pause = (ms: number) =>
    sleep(ms, undefined, { signal }).catch((error: unknown) => {
      // Cut short by the end: the round runs to its own end at once, so that nothing stays stopped.
      if (!signal.aborted) throw error;
    });
  const playing = (async () => {
    while (!signal.aborted) await round(pause);
  })();
  // Told by whoever ends it.
  playing.catch(() => {});
  return async () => {
    ending.abort();
    await playing;
  };
}
