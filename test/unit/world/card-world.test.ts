import { describe, expect, it } from 'vitest';
import { jsonDecoder } from '../../../src/fraud/payments/decode-json.js';
import { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import { type CardWorldOptions, cardWorld, type WorldMessage } from '../../../src/fraud/world/card-world.js';
import { COMPROMISED_FROM, worldMerchantRisk } from '../../../src/fraud/world/merchant-risk.js';
import { distanceKm } from '../../../src/fraud/world/places.js';
import { SCENARIOS, type Scenario } from '../../../src/fraud/world/scenarios.js';
import { recordsOf } from '../payments/fixtures.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const startMs = Date.UTC(2026, 0, 5);
const options: CardWorldOptions = { seed: 7, cards: 2_000, merchants: 500, startMs };

/** Everything up to `untilMs`, in slices. */
function run(given: Partial<CardWorldOptions>, untilMs: number, sliceMs = DAY_MS): WorldMessage[] {
  const world = cardWorld({ ...options, ...given });
  const messages: WorldMessage[] = [];
  for (let at = startMs; at <= untilMs; at += sliceMs) {
    for (let more = world.next(at); more.length > 0; more = world.next(at)) messages.push(...more);
  }
  return messages;
}

const brief = ({ value, atMs, scenario }: WorldMessage) => `${atMs} ${scenario} ${value?.toString('base64')}`;

describe('the simulated card world', () => {
  it('gives the same messages for the same seed, however they are cut, and others for another', () => {
    const mixed = { fraudPerThousand: 5, malformedPerThousand: 20, latePerThousand: 20 };
    const whole = run(mixed, startMs + DAY_MS).map(brief);
    expect(whole.length).toBeGreaterThan(6_000);
    expect(run(mixed, startMs + DAY_MS, HOUR_MS / 4).map(brief)).toEqual(whole);
    const world = cardWorld({ ...options, ...mixed });
    const oneByOne = Array.from({ length: 500 }, () => brief(world.next(startMs + DAY_MS, 1)[0]));
    expect(oneByOne).toEqual(whole.slice(0, 500));
    expect(run({ ...mixed, seed: 8 }, startMs + DAY_MS)[0].value).not.toEqual(run(mixed, startMs + DAY_MS)[0].value);
  });

  it('has the same cards and merchants whenever it begins, but pays otherwise', () => {
    const startsMs = [startMs, startMs + 1, startMs + DAY_MS, startMs + 2 ** 32];
    const worlds = startsMs.map((at) => cardWorld({ ...options, startMs: at }).next(at + 2 * DAY_MS, 5_000));
    const paymentsOf = (messages: readonly WorldMessage[]) =>
      messages.map(({ payment }) => payment).filter((payment) => payment !== null);
    const known = new Map<string, unknown>();
    let metAgain = 0;
    const sameAsBefore = (id: string, traits: unknown) => {
      if (known.has(id)) metAgain += 1;
      else known.set(id, traits);
      expect(traits).toEqual(known.get(id));
    };
    for (const messages of worlds) {
      for (const { cardId, merchantId, mcc, channel, deviceId, ip, ...rest } of paymentsOf(messages)) {
        if (channel === 'ecom') sameAsBefore(cardId, [deviceId, ip, rest.country, rest.currency]);
        else sameAsBefore(merchantId, [mcc, channel, rest.latitude, rest.longitude, rest.country]);
      }
    }
    expect(metAgain).toBeGreaterThan(10_000);
    const bought = worlds.map(
      (messages) =>
        new Set(
          paymentsOf(messages).map(({ cardId, merchantId, amountMinor }) => `${cardId} ${merchantId} ${amountMinor}`),
        ),
    );
    for (const [index, one] of bought.entries()) {
      for (const other of bought.slice(index + 1)) {
        const repeated = [...one].filter((purchase) => other.has(purchase)).length;
        expect(repeated).toBeLessThan(one.size / 20);
      }
    }
  });

  it('pays in order of time, at the rate asked for, more by day than by night', () => {
    const messages = run({}, startMs + 7 * DAY_MS);
    expect(messages.length).toBeGreaterThan(2_000 * 4 * 7 * 0.95);
    expect(messages.length).toBeLessThan(2_000 * 4 * 7 * 1.1);
    for (let i = 1; i < messages.length; i++) expect(messages[i].atMs).toBeGreaterThanOrEqual(messages[i - 1].atMs);
    const inHour = (hour: number) => messages.filter(({ atMs }) => new Date(atMs).getUTCHours() === hour).length;
    expect(inHour(17)).toBeGreaterThan(inHour(3) * 5);
    const even = run({ rhythm: 'even' }, startMs + 7 * DAY_MS);
    const inHours = Array.from(
      { length: 24 },
      (_, hour) => even.filter(({ atMs }) => new Date(atMs).getUTCHours() === hour).length,
    );
    expect(Math.min(...inHours)).toBeGreaterThan(Math.max(...inHours) * 0.8);
  });

  it('makes payments with distinct ids that the decoder reads on its fast path', () => {
    const messages = run({ fraudPerThousand: 5 }, startMs + DAY_MS);
    const decoder = jsonDecoder();
    const batch = new PaymentBatch(messages.length, 0);
    recordsOf(
      messages.map(({ value }) => value),
      batch.records,
    );
    const refused = messages
      .map((_, index) => decoder.decode(batch.records, index, batch, index))
      .filter((refusal) => refusal !== null);
    expect(refused).toEqual([]);
    expect(decoder.counters.strict).toBe(0);
    expect(new Set(messages.map(({ payment }) => payment?.paymentId)).size).toBe(messages.length);
    messages.forEach(({ key }, row) => {
      expect(batch.cardId(row)).toBe(key);
    });
  });

  it('lets honest cards neither fly faster than an airliner nor pay large amounts nor in bursts', () => {
    const messages = run({ fraudPerThousand: 0, cards: 500 }, startMs + 30 * DAY_MS);
    const lastOf = new Map<string, { occurredAt: number; latitude: number; longitude: number }>();
    const abroad = new Set<string>();
    const recentOf = new Map<string, number[]>();
    for (const { payment } of messages) {
      if (payment === null) throw new Error('malformed');
      const { cardId, occurredAt, latitude, longitude } = payment;
      expect(payment.amountMinor).toBeLessThan(20_000);
      const recent = (recentOf.get(cardId) ?? []).filter((at) => at > occurredAt - HOUR_MS);
      recentOf.set(cardId, [...recent, occurredAt]);
      expect(recent.length).toBeLessThan(7);
      if (latitude === undefined || longitude === undefined) continue;
      const last = lastOf.get(cardId);
      const here = { occurredAt, latitude, longitude };
      lastOf.set(cardId, here);
      if (last === undefined) continue;
      const km = distanceKm(last, here);
      if (km < 40) continue;
      abroad.add(cardId);
      expect((km / (occurredAt - last.occurredAt)) * HOUR_MS).toBeLessThan(1_000);
    }
    // Some do travel, or the speeds would say nothing.
    expect(abroad.size).toBeGreaterThan(20);
  });

  it('mixes in every kind of fraud, in its shape', () => {
    const messages = run({ fraudPerThousand: 5, cards: 20_000 }, startMs + DAY_MS);
    const fraud = messages.filter(({ scenario }) => scenario !== null);
    expect(fraud.length / messages.length).toBeLessThan(0.06);
    const byCard = (scenario: Scenario) =>
      [
        ...Map.groupBy(
          fraud.filter((message) => message.scenario === scenario),
          ({ key }) => key,
        ).values(),
      ].map((group) => group.map(({ payment }) => payment).filter((payment) => payment !== null));
    for (const scenario of SCENARIOS) expect(byCard(scenario).length).toBeGreaterThan(10);
    // Every fourth test of a card is not followed by a large payment.
    const tests = byCard('card-testing').filter(({ length }) => length === 6 || length === 7);
    const unfinished = tests.filter(({ length }) => length === 6).length / tests.length;
    expect([unfinished > 0.12, unfinished < 0.4]).toEqual([true, true]);
    for (const payments of tests.filter(({ length }) => length === 7)) {
      const amounts = payments.map(({ amountMinor }) => amountMinor);
      expect(Math.max(...amounts.slice(0, 6))).toBeLessThan(200);
      expect(amounts[6]).toBeGreaterThanOrEqual(28_000);
      expect(payments[6].occurredAt - payments[0].occurredAt).toBeLessThanOrEqual(5 * 60_000);
    }
    for (const payments of byCard('velocity-burst').filter(({ length }) => length >= 10)) {
      expect(payments[9].occurredAt - payments[0].occurredAt).toBeLessThan(10 * 60_000);
    }
    for (const [home, far] of byCard('impossible-travel').filter(({ length }) => length === 2)) {
      const place = ({ latitude = 0, longitude = 0 }) => ({ latitude, longitude });
      expect(distanceKm(place(home), place(far))).toBeGreaterThan(2_500);
      expect(far.occurredAt - home.occurredAt).toBeLessThanOrEqual(40 * 60_000);
    }
    for (const [payment] of byCard('large-amount')) expect(payment.amountMinor).toBeGreaterThanOrEqual(40_000);
    const copied = fraud.filter(({ scenario }) => scenario === 'compromised-merchant');
    const perShop = [...Map.groupBy(copied, ({ payment }) => payment?.merchantId).values()];
    expect(Math.max(...perShop.map((group) => new Set(group.map(({ key }) => key)).size))).toBeGreaterThan(10);
  });

  it('spoils so many messages a thousand, and every one of them is refused', () => {
    const messages = run({ malformedPerThousand: 50, cards: 5_000 }, startMs + DAY_MS);
    const spoiled = messages.filter(({ payment }) => payment === null);
    expect(spoiled.length / messages.length).toBeGreaterThan(0.04);
    expect(spoiled.length / messages.length).toBeLessThan(0.06);
    const decoder = jsonDecoder();
    const batch = new PaymentBatch(spoiled.length, 0);
    recordsOf(
      spoiled.map(({ value }) => value),
      batch.records,
    );
    const codes = spoiled.map((_, index) => decoder.decode(batch.records, index, batch, 0)?.code);
    expect(codes).not.toContain(undefined);
    expect(new Set(codes).size).toBeGreaterThanOrEqual(7);
  });

  it('puts event times of so many payments behind, and sends them in order all the same', () => {
    const messages = run({ latePerThousand: 50 }, startMs + DAY_MS);
    const behind = messages.filter(({ atMs, payment }) => payment !== null && payment.occurredAt < atMs);
    expect(behind.length / messages.length).toBeGreaterThan(0.03);
    for (const { atMs, payment } of behind) expect(atMs - (payment?.occurredAt ?? 0)).toBeGreaterThanOrEqual(6_000);
  });

  it('needs no memory a card: a billion of them start at once', () => {
    const world = cardWorld({ ...options, cards: 1e9, paymentsPerCardPerDay: 1 });
    expect(world.next(startMs + 60_000, 5_000)).toHaveLength(5_000);
  });

  it.each([
    ['seed', { seed: -1 }],
    ['cards', { cards: 0 }],
    ['merchants', { merchants: 111 }],
    ['startMs', { startMs: 0 }],
    ['fraudPerThousand', { fraudPerThousand: 1_001 }],
  ])('refuses options out of bounds, naming them: %s', (name, given) => {
    expect(() => cardWorld({ ...options, ...given })).toThrow(name);
  });
});

describe('the risk of the world', () => {
  const risks = Array.from({ length: 100_000 }, (_, i) => worldMerchantRisk(`merchant-w${i}`)).sort((a, b) => a - b);

  it('is a share of fraud: next to nothing for all but the few compromised merchants, and always the same', () => {
    const compromised = risks.filter((risk) => risk >= COMPROMISED_FROM);
    expect(compromised.length / risks.length).toBeCloseTo(0.015, 3);
    expect([risks[0] >= 0, (risks.at(-1) ?? 1) <= 0.9]).toEqual([true, true]);
    expect(risks[risks.length - compromised.length - 1]).toBeLessThanOrEqual(0.02);
    expect(risks[50_000]).toBeCloseTo(0.0025, 3);
    // Spread over their whole span: the model must see mild and grave cases.
    const middle = compromised[compromised.length >> 1];
    expect([middle > 0.45, middle < 0.6]).toEqual([true, true]);
    expect([worldMerchantRisk('merchant-3156'), worldMerchantRisk('merchant-268')]).toEqual([0.0002, 0.6883]);
  });

  it('names merchants where the compromised-merchant scenario plays, and which honest people avoid', () => {
    const messages = run({ fraudPerThousand: 10, cards: 10_000, merchants: 1_000 }, startMs + DAY_MS);
    const riskOf = ({ payment }: WorldMessage) => worldMerchantRisk(payment?.merchantId ?? '');
    const copied = messages.filter(({ scenario }) => scenario === 'compromised-merchant');
    expect(copied.length).toBeGreaterThan(50);
    for (const message of copied) expect(riskOf(message)).toBeGreaterThanOrEqual(COMPROMISED_FROM);
    const honest = messages.filter(({ scenario }) => scenario === null);
    const among = honest.filter((message) => riskOf(message) >= COMPROMISED_FROM).length;
    expect(among).toBeGreaterThan(0);
    expect(among / honest.length).toBeLessThan(0.004);
  });
});
