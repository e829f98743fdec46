/**
 * Owns what overloads: a broker that takes and gives too little, a database that is away or stands still, a lookup that
 * takes nearly as long as it may or never answers. Each goes on until it is ended. Neighbour: `proof.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
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
  /** Whether the detector cannot keep up; a database holds the projector up alone. */
  readonly slowsReading: boolean;
  /** Begins; goes on until what it returns is called. */
  begin(stage: Stage): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** A commit writes each card's whole state: this is far less than the feed needs. */
const BROKER_BYTES_PER_SECOND = 400_000;
const BROKER_DELAY_MS = 60;
const AWAY_MS = 15_000;
const STANDS_STILL_MS = 1_500;
const RUNS_MS = 150;
const NORMAL_MS = 10_000;
const LOOKUP_MS = 1_900;
const LOOKUP_TIMEOUT_MS = 2_000;
const ANSWERS_MS = 20_000;
/** Short: once the breaker is open, nobody is asked and all goes fast. */
const HANGS_MS = 4_000;

export function openOverload(kind: OverloadKind): Promise<Overload> {
  switch (kind) {
    case 'broker':
      return Promise.resolve(slowBroker);
    case 'database':
      return Promise.resolve(absentDatabase);
    case 'lookup':
      return slowLookup();
  }
}

const slowBroker: Overload = {
  what: `broker: ${BROKER_BYTES_PER_SECOND / 1_000} kB/s each way, ${BROKER_DELAY_MS} ms later each way`,
  // Epochs must fit through within their deadline.
  flags: ['--batch-max-records=512', '--epoch-max-payments=2000'],
  needsDatabase: false,
  slowsReading: true,
  async begin({ arena: { proxy } }) {
    if (proxy === null) throw new Error('no proxy stands before the broker');
    proxy.limit({ toBrokerBytesPerSecond: BROKER_BYTES_PER_SECOND, toClientBytesPerSecond: BROKER_BYTES_PER_SECOND });
    proxy.delay({ toBrokerMs: BROKER_DELAY_MS, toClientMs: BROKER_DELAY_MS });
    return async () => proxy.calm();
  },
  close: async () => {},
};

const absentDatabase: Overload = {
  what: `database: stopped for ${AWAY_MS / 1_000} s, then standing still nine tenths of the time for as long, then well for ${NORMAL_MS / 1_000} s, and so on`,
  flags: [],
  needsDatabase: true,
  slowsReading: false,
  async begin({ arena: { postgres } }) {
    if (postgres === null) throw new Error('there is no database');
    return repeated(async (pause) => {
      await postgres.stopAtOnce();
      await pause(AWAY_MS);
      await postgres.start();
      for (let left = AWAY_MS; left > 0; left -= STANDS_STILL_MS + RUNS_MS) {
        await postgres.pause();
        await pause(STANDS_STILL_MS);
        await postgres.resume();
        await pause(RUNS_MS);
      }
      await pause(NORMAL_MS);
    });
  },
  close: async () => {},
};

async function slowLookup(): Promise<Overload> {
  const service: MerchantRiskService = await startMerchantRiskService({
    latencyMs: LOOKUP_MS,
    riskOf: provenMerchantRisk,
  });
  return {
    what: `lookup: answers after ${LOOKUP_MS} ms for ${ANSWERS_MS / 1_000} s, never for ${HANGS_MS / 1_000} s, and so on; nothing is remembered`,
    flags: [
      `--merchant-risk-url=${service.url}`,
      `--merchant-risk-timeout-ms=${LOOKUP_TIMEOUT_MS}`,
      '--merchant-risk-cache-expiry-ms=0',
      // Each batch waits for its lookups: so many records of a partition in the time of one.
      '--batch-max-records=512',
    ],
    needsDatabase: false,
    slowsReading: true,
    async begin() {
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
