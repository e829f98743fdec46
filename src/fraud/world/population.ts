/**
 * Owns who lives in the simulated card world: cards and merchants, all derived from the seed. Cards are computed when
 * asked for and take no memory, so there can be millions; merchants are a list. Neighbours: `card-world.ts` lets them
 * pay, `scenarios.ts` lets fraudsters.
 */
import type { CardId, MerchantId } from '../payments/payment.js';
import { COMPROMISED_FROM, worldMerchantRisk } from './merchant-risk.js';
import { distanceKm, PLACES, type Place } from './places.js';
import { mix32, Random } from './random.js';

export interface Card {
  readonly id: CardId;
  readonly home: Place;
  /** The middle one of its usual amounts. */
  readonly medianMinor: number;
  /** Share of payments made online. */
  readonly ecomShare: number;
  readonly deviceId: string;
  readonly ip: string;
}

export interface Merchant {
  readonly id: MerchantId;
  readonly mcc: string;
  readonly channel: 'pos' | 'ecom' | 'atm';
  readonly place: Place;
  readonly latitude: number;
  readonly longitude: number;
  /** Amounts here against the card's usual ones. */
  readonly amountFactor: number;
  /** {@link worldMerchantRisk} of the id. */
  readonly risk: number;
}

/** ISO 18245 code, where it is paid, amounts against usual, how frequent. */
type Trade = readonly [mcc: string, channel: Merchant['channel'], amountFactor: number, weight: number];
const TRADES: readonly Trade[] = [
  ['5411', 'pos', 1, 26], // groceries
  ['5814', 'pos', 0.8, 14], // fast food
  ['5812', 'pos', 1.1, 12], // restaurants
  ['5541', 'pos', 1.2, 9], // fuel
  ['5912', 'pos', 0.8, 7], // pharmacies
  ['5651', 'pos', 1.2, 7], // clothing
  ['4111', 'pos', 0.7, 5], // local transport
  ['6011', 'atm', 1.2, 4], // cash machines
  ['5942', 'ecom', 0.9, 3], // books
  ['5732', 'ecom', 1.2, 3], // electronics
  ['4899', 'ecom', 0.7, 3], // streaming
  ['5999', 'ecom', 1.1, 3], // other shops
  ['5816', 'ecom', 0.8, 2], // digital games
  ['7995', 'ecom', 1, 1], // gambling
  ['6051', 'ecom', 1.2, 1], // quasi cash
];
/** Half the width of a city, in degrees of latitude: 9 km. */
const CITY_DEGREES = 0.08;
const DAY_MS = 86_400_000;

export class Population {
  readonly merchants: readonly Merchant[];
  readonly ecom: readonly Merchant[];
  readonly atms: ReadonlyMap<Place, readonly Merchant[]>;
  readonly shops: ReadonlyMap<Place, readonly Merchant[]>;
  /** Compromised shops, where cards' data gets stolen; few, and none in some small worlds. */
  readonly compromised: readonly Merchant[];
  private readonly weightSum: number;

  constructor(
    private readonly seed: number,
    readonly cards: number,
    merchants: number,
  ) {
    this.weightSum = PLACES.reduce((sum, { weight }) => sum + weight, 0);
    const random = new Random(seed ^ 0x6d657263);
    this.merchants = Array.from({ length: merchants }, (_, index) => this.makeMerchant(index, random));
    this.ecom = this.merchants.filter(({ channel }) => channel === 'ecom');
    this.compromised = this.merchants.filter(({ channel, risk }) => channel === 'pos' && risk >= COMPROMISED_FROM);
    this.shops = byPlace(this.merchants.filter(({ channel }) => channel === 'pos'));
    this.atms = byPlace(this.merchants.filter(({ channel }) => channel === 'atm'));
  }

  card(index: number): Card {
    const spread = this.fraction(index, 1) + this.fraction(index, 2) + this.fraction(index, 3) - 1.5;
    const address = Math.floor(this.fraction(index, 5) * 2 ** 16);
    return {
      id: `card-w${index}` as CardId,
      home: this.placeAt(this.fraction(index, 4)),
      // 50 euros in the middle, cards from 25 to 100.
      medianMinor: Math.round(5_000 * Math.exp(spread * 0.46)),
      ecomShare: 0.1 + 0.5 * this.fraction(index, 6),
      deviceId: `device-w${index}`,
      // 198.18.0.0/15 is kept for benchmarks (RFC 2544): nobody's address.
      ip: `198.18.${address >> 8}.${address & 255}`,
    };
  }

  /**
   * Where a card is: at home, on a trip of some days within one week, or (null) on its way there or back. Days are
   * UTC's; on the way is the first half of the first day of the trip and of the day after it, so that no journey has
   * to be faster than an airliner.
   */
  whereabouts(index: number, home: Place, atMs: number): Place | null {
    const day = Math.floor(atMs / DAY_MS);
    const week = Math.floor(day / 7);
    if (this.fraction(index, week * 8 + 100) >= 0.04) return home;
    const first = Math.floor(this.fraction(index, week * 8 + 101) * 3);
    const last = first + 1 + Math.floor(this.fraction(index, week * 8 + 102) * 2);
    const destination = this.placeAt(this.fraction(index, week * 8 + 103));
    if (distanceKm(home, destination) > 4_000) return home;
    const dayOfWeek = day - week * 7;
    if (dayOfWeek < first || dayOfWeek > last + 1) return home;
    const isMorning = atMs - day * DAY_MS < DAY_MS / 2;
    if ((dayOfWeek === first || dayOfWeek === last + 1) && isMorning) return null;
    return dayOfWeek <= last ? destination : home;
  }

  /** A place by weight. */
  placeAt(fraction: number): Place {
    let left = fraction * this.weightSum;
    for (const place of PLACES) {
      left -= place.weight;
      if (left < 0) return place;
    }
    return PLACES[0];
  }

  /** 0 up to 1, always the same for a card and a purpose. */
  private fraction(index: number, purpose: number): number {
    return mix32(mix32(this.seed ^ Math.imul(index + 1, 0x9e3779b1)) ^ Math.imul(purpose, 0x85ebca77)) / 4294967296;
  }

  private makeMerchant(index: number, random: Random): Merchant {
    const id = `merchant-w${index}` as MerchantId;
    const risk = worldMerchantRisk(id);
    const place = PLACES[index >> 1] ?? this.placeAt(random.unit());
    const trade = givenTrade(index) ?? pickTrade(random);
    const [mcc, channel, amountFactor] = trade;
    const shift = () => random.between(-CITY_DEGREES, CITY_DEGREES);
    const latitude = Number((place.latitude + shift()).toFixed(4));
    const longitude = Number((place.longitude + shift()).toFixed(4));
    return { id, mcc, channel, place, latitude, longitude, amountFactor, risk };
  }
}

/** Every place gets a shop and a cash machine, and the world one shop online, before chance decides. */
function givenTrade(index: number): Trade | null {
  if (index < PLACES.length * 2) return index % 2 === 0 ? TRADES[0] : TRADES[7];
  return index === PLACES.length * 2 ? TRADES[8] : null;
}

/** Fewest merchants a world can do with: a shop and a cash machine a place, and as many more for trade online. */
export const MIN_MERCHANTS = PLACES.length * 4;

const TRADE_WEIGHTS = TRADES.reduce((sum, [, , , weight]) => sum + weight, 0);

function pickTrade(random: Random): Trade {
  let left = random.unit() * TRADE_WEIGHTS;
  for (const trade of TRADES) {
    left -= trade[3];
    if (left < 0) return trade;
  }
  return TRADES[0];
}

function byPlace(merchants: readonly Merchant[]): ReadonlyMap<Place, readonly Merchant[]> {
  return Map.groupBy(merchants, ({ place }) => place);
}
