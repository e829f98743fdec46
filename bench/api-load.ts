/**
 * Owns the load on `GET /v1/alerts`: a mix of what analysts ask for, sent on time whatever comes back (open loop), each
 * answer's latency counted from when it was due. So a slow answer makes those behind it late, as it would for people.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { ANALYSTS, analystName, CARDS, cardName, MERCHANTS, merchantName, NEWEST_MS, RULES } from './api-alerts.js';
import { quantile } from './process-figures.js';

const DAY_MS = 86_400_000;
/** Asked for at once at most; what is due beyond that waits, and its latency grows. */
const CONNECTIONS = 64;

interface Kind {
  readonly name: string;
  readonly weight: number;
  query(random: () => number): string;
}

const one = (random: () => number, count: number, power: number) => Math.floor(random() ** power * count);

const KINDS: readonly Kind[] = [
  { name: 'newest', weight: 20, query: () => '' },
  { name: 'open', weight: 12, query: () => 'state=open' },
  { name: 'open and critical', weight: 8, query: () => 'state=open&severity=critical' },
  { name: 'mine', weight: 6, query: (random) => `assignee=${analystName(one(random, ANALYSTS, 1))}&state=in-progress` },
  { name: 'nobody works on', weight: 5, query: () => 'assignee=none&state=open' },
  { name: 'of a card', weight: 12, query: (random) => `cardId=${cardName(one(random, CARDS, 3))}` },
  { name: 'of a merchant', weight: 6, query: (random) => `merchantId=${merchantName(one(random, MERCHANTS, 4))}` },
  { name: 'of a rule', weight: 6, query: (random) => `ruleId=${RULES[one(random, RULES.length, 2)]}` },
  { name: 'declined, high score', weight: 5, query: () => 'decision=decline&minScore=0.99' },
  { name: 'by score', weight: 4, query: () => 'sort=score&state=open' },
  { name: 'by amount', weight: 4, query: () => 'sort=amountMinor&currency=GBP' },
  { name: 'amount range', weight: 3, query: () => 'minAmountMinor=100000&maxAmountMinor=120000&currency=EUR' },
  {
    name: 'found fraud',
    weight: 3,
    query: (random) => `disposition=fraud&ruleId=${RULES[one(random, RULES.length, 2)]}`,
  },
  {
    name: 'of a day',
    weight: 6,
    query: (random) => {
      const to = NEWEST_MS - Math.floor(random() * 29) * DAY_MS;
      return `from=${to - DAY_MS}&to=${to}&limit=200`;
    },
  },
];
const NEXT_PAGE = 'next page';
/** Share of requests that turn the page of an answer before. */
const PAGING_SHARE = 0.12;

export interface LoadFigures {
  readonly requests: number;
  readonly errors: number;
  readonly requestsPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  readonly p99MsByQuery: Readonly<Record<string, number>>;
}

/** Sends `rate` requests a second for `seconds`. `random` gives 0 to 1. */
export async function load(address: string, rate: number, seconds: number, random: () => number): Promise<LoadFigures> {
  const pool = new Pool(address, { connections: CONNECTIONS, pipelining: 1 });
  const latencies = new Map<string, number[]>();
  const under: Promise<void>[] = [];
  const pages: { query: string; next: string }[] = [];
  let errors = 0;
  const begin = performance.now();
  const send = async (name: string, query: string, dueMs: number) => {
    try {
      const { statusCode, body } = await pool.request({
        method: 'GET',
        path: `/v1/alerts?${query}`,
        headers: { authorization: 'Bearer bench' },
      });
      const { items, next } = (await body.json()) as { items: unknown[]; next: string | null };
      if (statusCode !== 200 || !Array.isArray(items)) errors++;
      else if (next !== null) pages.splice(0, 1, { query: query.replace(/&?cursor=[^&]*/, ''), next });
    } catch {
      errors++;
    }
    const of = latencies.get(name) ?? [];
    latencies.set(name, of);
    of.push(performance.now() - begin - dueMs);
  };
  const requests = rate * seconds;
  for (let sent = 0; sent < requests; sent++) {
    const dueMs = (sent * 1_000) / rate;
    const aheadMs = dueMs - (performance.now() - begin);
    if (aheadMs > 0.5) await sleep(aheadMs);
    const page = random() < PAGING_SHARE ? pages.pop() : undefined;
    if (page !== undefined) {
      under.push(send(NEXT_PAGE, `${page.query}&cursor=${page.next}`.replace(/^&/, ''), dueMs));
    } else {
      const kind = pick(random);
      under.push(send(kind.name, kind.query(random), dueMs));
    }
  }
  await Promise.all(under);
  const tookMs = performance.now() - begin;
  await pool.close();
  return figures(latencies, requests, errors, tookMs);
}

function pick(random: () => number): Kind {
  let left = random() * KINDS.reduce((sum, { weight }) => sum + weight, 0);
  for (const kind of KINDS) {
    left -= kind.weight;
    if (left < 0) return kind;
  }
  return KINDS[0];
}

function figures(
  latencies: ReadonlyMap<string, readonly number[]>,
  requests: number,
  errors: number,
  tookMs: number,
): LoadFigures {
  const ms = (value: number) => Math.round(value * 10) / 10;
  const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
  const all = sorted([...latencies.values()].flat());
  return {
    requests,
    errors,
    requestsPerSecond: Math.round((requests * 1_000) / tookMs),
    latencyMs: {
      p50: ms(quantile(all, 0.5)),
      p90: ms(quantile(all, 0.9)),
      p99: ms(quantile(all, 0.99)),
      max: ms(all.at(-1) ?? 0),
    },
    p99MsByQuery: Object.fromEntries(
      [...latencies]
        .map(([name, values]) => [name, ms(quantile(sorted(values), 0.99))] as const)
        .sort((a, b) => b[1] - a[1]),
    ),
  };
}
