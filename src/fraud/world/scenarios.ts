/**
 * Owns what fraudsters do in the simulated card world: each scenario plans payments from now on. Neighbours:
 * `card-world.ts` starts scenarios and mixes their payments into everybody else's.
 */

import { distanceKm, PLACES, type Place } from './places.js';
import type { Card, Merchant, Population } from './population.js';
import type { Random } from './random.js';

export const SCENARIOS = [
  'card-testing',
  'velocity-burst',
  'impossible-travel',
  'large-amount',
  'compromised-merchant',
] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** A payment that will be made. */
export interface PlannedPayment {
  readonly atMs: number;
  readonly card: Card;
  readonly merchant: Merchant;
  readonly amountMinor: number;
  readonly scenario: Scenario;
}

/** How often each begins, relative: so that alerts come of all kinds, though some scenarios make many payments. */
const FREQUENCY: Readonly<Record<Scenario, number>> = {
  'card-testing': 4,
  'velocity-burst': 2,
  'impossible-travel': 4,
  'large-amount': 4,
  'compromised-merchant': 1,
};
const FREQUENCIES = SCENARIOS.reduce((sum, scenario) => sum + FREQUENCY[scenario], 0);

/** The scenario that begins next. */
export function pickScenario(random: Random): Scenario {
  let left = random.unit() * FREQUENCIES;
  for (const scenario of SCENARIOS) {
    left -= FREQUENCY[scenario];
    if (left < 0) return scenario;
  }
  return SCENARIOS[0];
}

const MINUTE_MS = 60_000;

/** The payments of a scenario that begins at `nowMs`, in order of time. */
export function planScenario(
  scenario: Scenario,
  nowMs: number,
  population: Population,
  random: Random,
): readonly PlannedPayment[] {
  const card = population.card(random.whole(0, population.cards - 1));
  const pay = (atMs: number, merchant: Merchant, amountMinor: number, by = card): PlannedPayment => ({
    atMs,
    card: by,
    merchant,
    amountMinor: Math.round(amountMinor),
    scenario,
  });
  const online = () => random.pick(population.ecom);
  switch (scenario) {
    case 'card-testing': {
      // Is the stolen card alive? Six small amounts at one shop tell, then comes the one that counts; every fourth
      // thief sells the card instead.
      const shop = online();
      const spanMs = random.between(2 * MINUTE_MS, 5 * MINUTE_MS);
      const small = Array.from({ length: 6 }, (_, i) => pay(nowMs + (spanMs * i) / 6, shop, random.between(50, 195)));
      return random.chance(0.25) ? small : [...small, pay(nowMs + spanMs, online(), random.between(28_000, 95_000))];
    }
    case 'velocity-burst': {
      const count = random.whole(10, 14);
      const spanMs = random.between(5 * MINUTE_MS, 9 * MINUTE_MS);
      return Array.from({ length: count }, (_, i) =>
        pay(nowMs + (spanMs * i) / count, random.pick(population.ecom), random.between(1_500, 12_000)),
      );
    }
    case 'impossible-travel': {
      // The card pays at home; its copy pays in a shop far away before any aircraft could be there.
      const far = random.pick(PLACES.filter((place) => distanceKm(place, card.home) > 3_000));
      const atHome = random.pick(population.shops.get(card.home) ?? population.merchants);
      const abroad = random.pick(population.shops.get(far) ?? population.merchants);
      const laterMs = nowMs + random.between(15 * MINUTE_MS, 40 * MINUTE_MS);
      return [pay(nowMs, atHome, card.medianMinor), pay(laterMs, abroad, card.medianMinor * random.between(2, 5))];
    }
    case 'large-amount':
      return [pay(nowMs, online(), Math.max(40_000, card.medianMinor * random.between(15, 30)))];
    case 'compromised-merchant': {
      // A shop's card reader is copied: for an hour, many cards pay too much there.
      const { compromised, merchants } = population;
      const shops = compromised.length > 0 ? compromised : merchants.filter(({ channel }) => channel === 'pos');
      const shop = random.pick(shops);
      const count = random.whole(8, 16);
      return Array.from({ length: count }, (_, i) => {
        const victim = localCard(shop.place, population, random);
        const atMs = nowMs + i * random.between(2 * MINUTE_MS, 5 * MINUTE_MS);
        return pay(atMs, shop, victim.medianMinor * random.between(4, 7), victim);
      }).sort((a, b) => a.atMs - b.atMs);
    }
  }
}

/** A card of people who live there, or any where none is found in some tries. */
function localCard(place: Place, population: Population, random: Random): Card {
  const draw = () => population.card(random.whole(0, population.cards - 1));
  let card = draw();
  for (let tries = 0; card.home !== place && tries < 100; tries++) card = draw();
  return card;
}
