/**
 * Owns the simulated card world: an endless, seeded stream of payments in the order of their event time, with fraud
 * among them. Pure: it knows no clock and waits for nothing; whoever feeds it to a topic sets the pace. Neighbours:
 * `population.ts` (who pays where), `scenarios.ts` (fraud), `malformed.ts` (what is no payment).
 *
 * Invariants
 * 1. The same options give the same messages, however the calls of `next` cut them. Who lives in the world depends on
 *    `seed` alone; what they pay depends on `startMs` as well, so that a world begun anew does not repeat the last one.
 * 2. Without fraud, no card leaves its city faster than 1,000 km/h, and amounts stay under 200.
 *
 * Measured: 280,000 payments/s in one thread.
 */
import { StreamError } from '../../stream/errors.js';
import { encodePayment } from '../payments/encode-json.js';
import { PAYMENT_LIMITS, type Payment, type PaymentId } from '../payments/payment.js';
import { spoilMessage } from './malformed.js';
import { COMPROMISED_FROM } from './merchant-risk.js';
import { type Card, type Merchant, MIN_MERCHANTS, Population } from './population.js';
import { mix32, Random } from './random.js';
import { type PlannedPayment, pickScenario, planScenario, type Scenario } from './scenarios.js';

export interface CardWorldOptions {
  readonly seed: number;
  readonly cards: number;
  /** 112 at least: some for every city. */
  readonly merchants: number;
  /** Event time at which the world begins, ms since 1970. Part of the payments' ids and of their randomness. */
  readonly startMs: number;
  /** On average; 4 where left out. Over some 60, honest cards pay so often that they look like bursts. */
  readonly paymentsPerCardPerDay?: number;
  /** `daily`: people sleep (default). `even`: the same rate round the clock. */
  readonly rhythm?: 'daily' | 'even';
  /** Scenarios begun a thousand payments; 1 where left out. Each makes 1 to 16 payments, 4 on average. */
  readonly fraudPerThousand?: number;
  /** Messages a thousand that are no payments; 0 where left out. */
  readonly malformedPerThousand?: number;
  /** Payments a thousand whose event time lies 6 to 60 s behind; 0 where left out. */
  readonly latePerThousand?: number;
}

/** One record for the topic, and what is true of it. */
export interface WorldMessage {
  /** The card's id, malformed or not. */
  readonly key: string;
  readonly value: Buffer | null;
  /** When it is sent, in world time: never before that of the message ahead. */
  readonly atMs: number;
  /** Null where the message is malformed. */
  readonly payment: Payment | null;
  /** Null where the payment is an honest one. */
  readonly scenario: Scenario | null;
}

export interface CardWorld {
  /** Payments a second on average, fraud left out. */
  readonly ratePerSecond: number;
  /** The messages up to and including `untilMs` that were not given yet, `limit` (10,000) at most. */
  next(untilMs: number, limit?: number): WorldMessage[];
}

/** How many pay in each local hour, against the busiest. */
const HOURLY = [
  0.12, 0.07, 0.05, 0.04, 0.05, 0.1, 0.25, 0.45, 0.6, 0.65, 0.7, 0.8, 0.95, 0.9, 0.75, 0.75, 0.85, 1, 1, 0.9, 0.7, 0.5,
  0.35, 0.2,
];
const HOURLY_MEAN = HOURLY.reduce((sum, share) => sum + share, 0) / 24;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const USUAL_MAX_MINOR = 19_900;
/** The share of honest payments that a compromised merchant keeps. */
const KEPT_CUSTOMERS = 0.05;
/** No scenario begins while so many fraud payments are planned: memory stays bounded whatever the rates. */
const MAX_PLANNED = 20_000;

/** Errors: code `card-world-options` naming the option that is out of bounds. */
export function cardWorld(options: CardWorldOptions): CardWorld {
  return new SimulatedWorld(options);
}

class SimulatedWorld implements CardWorld {
  readonly ratePerSecond: number;
  private readonly random: Random;
  private readonly population: Population;
  private readonly planned = new PlanQueue();
  private readonly idPrefix: string;
  private readonly isDaily: boolean;
  private readonly meanGapMs: number;
  private readonly fraud: number;
  private readonly malformed: number;
  private readonly late: number;
  /** The next honest payment's time; fractions of ms are kept, or a busy world would drift. */
  private nextMs: number;
  private made = 0;

  constructor(options: CardWorldOptions) {
    checkOptions(options);
    const { seed, cards, merchants, startMs, paymentsPerCardPerDay = 4, rhythm = 'daily' } = options;
    this.random = new Random(paymentSeed(seed, startMs));
    this.population = new Population(seed, cards, merchants);
    this.ratePerSecond = (cards * paymentsPerCardPerDay) / 86_400;
    this.isDaily = rhythm === 'daily';
    // Drawn at the busiest hour's rate, then thinned to each card's own hour (Lewis and Shedler 1979).
    this.meanGapMs = (1_000 / this.ratePerSecond) * (this.isDaily ? HOURLY_MEAN : 1);
    this.fraud = (options.fraudPerThousand ?? 1) / 1_000;
    this.malformed = (options.malformedPerThousand ?? 0) / 1_000;
    this.late = (options.latePerThousand ?? 0) / 1_000;
    this.idPrefix = `w${startMs.toString(36)}-${seed.toString(36)}-`;
    this.nextMs = startMs + this.random.exponential(this.meanGapMs);
  }

  next(untilMs: number, limit = 10_000): WorldMessage[] {
    const messages: WorldMessage[] = [];
    while (messages.length < limit) {
      const plannedMs = this.planned.firstMs;
      if (Math.min(plannedMs, this.nextMs) > untilMs) break;
      if (plannedMs <= this.nextMs) {
        const { atMs, card, merchant, amountMinor, scenario } = this.planned.take();
        messages.push(this.message(atMs, card, merchant, amountMinor, scenario));
        continue;
      }
      const message = this.honestPayment(this.nextMs);
      if (message !== null) messages.push(message);
      this.nextMs += this.random.exponential(this.meanGapMs);
    }
    return messages;
  }

  /** Null where the card drawn sleeps at this hour. */
  private honestPayment(atMs: number): WorldMessage | null {
    const { random, population } = this;
    const index = random.whole(0, population.cards - 1);
    const card = population.card(index);
    const localHour = Math.floor((atMs + card.home.utcOffsetHours * HOUR_MS) / HOUR_MS) % 24;
    if (this.isDaily && !random.chance(HOURLY[localHour])) return null;
    if (random.chance(this.fraud) && this.planned.length < MAX_PLANNED) {
      for (const plan of planScenario(pickScenario(random), atMs, population, random)) this.planned.add(plan);
    }
    const place = population.whereabouts(index, card.home, atMs);
    const channel = place === null || random.chance(card.ecomShare) ? 'ecom' : random.chance(0.05) ? 'atm' : 'pos';
    const among =
      channel === 'ecom' || place === null
        ? population.ecom
        : ((channel === 'atm' ? population.atms : population.shops).get(place) ?? population.ecom);
    const merchant = this.honestChoice(among);
    return this.message(atMs, card, merchant, this.usualAmountMinor(card, merchant), null);
  }

  /** The square makes some shops far busier than others. Who hears of fraud at a shop goes elsewhere, as most do. */
  private honestChoice(among: readonly Merchant[]): Merchant {
    const { random } = this;
    const choose = () => among[Math.floor(among.length * random.unit() ** 2)];
    const merchant = choose();
    return merchant.risk >= COMPROMISED_FROM && !random.chance(KEPT_CUSTOMERS) ? choose() : merchant;
  }

  /**
   * Normal about the card's median and never far from it, as three times the usual amount is what fraud looks like, even
   * where the usual is one payment. Cash comes in tens.
   */
  private usualAmountMinor(card: Card, merchant: Merchant): number {
    const spread = Math.min(1.7, Math.max(0.6, 1 + 0.3 * this.random.normal()));
    const amount = card.medianMinor * merchant.amountFactor * spread;
    const bounded = Math.min(USUAL_MAX_MINOR, Math.max(100, amount));
    return merchant.channel === 'atm' ? Math.max(1_000, Math.floor(bounded / 1_000) * 1_000) : Math.round(bounded);
  }

  private message(
    atMs: number,
    card: Card,
    merchant: Merchant,
    amountMinor: number,
    scenario: Scenario | null,
  ): WorldMessage {
    const { random } = this;
    const sentMs = Math.floor(atMs);
    const { mcc, channel, place, latitude, longitude } = merchant;
    const isOnline = channel === 'ecom';
    const behindMs = random.chance(this.late) ? random.whole(6_000, 60_000) : 0;
    const common = {
      paymentId: `${this.idPrefix}${this.made++}` as PaymentId,
      cardId: card.id,
      merchantId: merchant.id,
      amountMinor,
      currency: isOnline ? card.home.currency : place.currency,
      occurredAt: sentMs - behindMs,
      country: isOnline ? card.home.country : place.country,
      mcc,
      channel,
      status: 'requested',
    } as const;
    const payment: Payment = isOnline
      ? { ...common, deviceId: card.deviceId, ip: card.ip }
      : { ...common, latitude, longitude };
    const value = encodePayment(payment);
    if (!random.chance(this.malformed)) return { key: card.id, value, atMs: sentMs, payment, scenario };
    return { key: card.id, value: spoilMessage(value, random), atMs: sentMs, payment: null, scenario: null };
  }
}

/** Seed and start in one safe integer, mixed so that near ones have nothing in common. */
function paymentSeed(seed: number, startMs: number): number {
  const low = mix32(mix32(seed) ^ startMs);
  const high = Math.floor(seed / 2 ** 32) ^ Math.floor(startMs / 2 ** 32);
  return high * 2 ** 32 + low;
}

/** Planned payments by time: a binary heap. */
class PlanQueue {
  private readonly plans: PlannedPayment[] = [];

  get length(): number {
    return this.plans.length;
  }

  get firstMs(): number {
    return this.plans.length === 0 ? Number.POSITIVE_INFINITY : this.plans[0].atMs;
  }

  add(plan: PlannedPayment): void {
    const { plans } = this;
    let at = plans.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (plans[parent].atMs <= plan.atMs) break;
      plans[at] = plans[parent];
      at = parent;
    }
    plans[at] = plan;
  }

  /** The caller has seen that there is one. */
  take(): PlannedPayment {
    const { plans } = this;
    const [first] = plans;
    const last = plans.pop();
    if (last === undefined || plans.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= plans.length) break;
      if (child + 1 < plans.length && plans[child + 1].atMs < plans[child].atMs) child += 1;
      if (plans[child].atMs >= last.atMs) break;
      plans[at] = plans[child];
      at = child;
    }
    plans[at] = last;
    return first;
  }
}

function checkOptions(options: CardWorldOptions): void {
  const { seed, cards, merchants, startMs, paymentsPerCardPerDay = 4 } = options;
  const check = (fine: boolean, message: string) => {
    if (!fine) throw new StreamError('card-world-options', `the card world's ${message}`);
  };
  check(Number.isSafeInteger(seed) && seed >= 0, `seed must be a whole number from 0, got ${seed}`);
  check(Number.isInteger(cards) && cards >= 1 && cards <= 1e9, `cards must be 1 to 10^9, got ${cards}`);
  check(
    Number.isInteger(merchants) && merchants >= MIN_MERCHANTS && merchants <= 1e6,
    `merchants must be ${MIN_MERCHANTS} to 10^6, got ${merchants}`,
  );
  check(
    Number.isInteger(startMs) && startMs >= PAYMENT_LIMITS.minOccurredAt + DAY_MS,
    `startMs must be a time after 2000, got ${startMs}`,
  );
  check(
    paymentsPerCardPerDay > 0 && paymentsPerCardPerDay <= 1e6,
    'payments per card and day must be over 0, up to 10^6',
  );
  for (const name of ['fraudPerThousand', 'malformedPerThousand', 'latePerThousand'] as const) {
    const rate = options[name] ?? 0;
    check(rate >= 0 && rate <= 1_000, `${name} must be 0 to 1,000, got ${rate}`);
  }
}
