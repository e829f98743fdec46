/**
 * The card world as the shipped rules and model see it: a demo in which every fourth payment is an alert shows nothing.
 * The steps run without logs and tasks; scores come from the model's trees in its metadata, which
 * `test/unit/scoring` holds equal to what ONNX computes.
 */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { rememberPayment } from '../../../src/fraud/cards/remember-payment.js';
import { cardState } from '../../../src/fraud/cards/state.js';
import { cardFeatures } from '../../../src/fraud/features/card-features.js';
import { FEATURE_COUNT } from '../../../src/fraud/features/feature-list.js';
import { cardPatterns } from '../../../src/fraud/patterns/card-patterns.js';
import { DEFAULT_PATTERN_PARAMETERS } from '../../../src/fraud/patterns/pattern-parameters.js';
import { jsonPayments } from '../../../src/fraud/payments/decode-json.js';
import { builtInRuleSet } from '../../../src/fraud/rules/built-in-rules.js';
import { compileRules } from '../../../src/fraud/rules/compile-rules.js';
import { RuleBreakers } from '../../../src/fraud/rules/rule-breakers.js';
import { explain } from '../../../src/fraud/scoring/explain.js';
import type { ModelFacts } from '../../../src/fraud/scoring/model-metadata.js';
import { cardWorld, type WorldMessage } from '../../../src/fraud/world/card-world.js';
import { worldMerchantRisk } from '../../../src/fraud/world/merchant-risk.js';
import { SCENARIOS, type Scenario } from '../../../src/fraud/world/scenarios.js';
import { makeColumns } from '../../../src/stream/state/layout.js';
import { contextOf, HandClock } from '../enrichment/fixtures.js';
import { recordsOf } from '../payments/fixtures.js';

const model = JSON.parse(
  readFileSync(new URL('../../../models/card-risk/1/metadata.json', import.meta.url), 'utf8'),
) as ModelFacts;

const HOUR_MS = 3_600_000;
const BATCH = 2_000;
const PER_SECOND = 20;
/** As the demo pays: often enough that cards soon have a history. */
const PER_CARD_PER_DAY = 40;
const cards = (PER_SECOND * 86_400) / PER_CARD_PER_DAY;

/** Fewer payments are a scheme that the end cut off, or a card's test without a large payment: a timer tells of that. */
const WHOLE: Readonly<Record<Scenario, number>> = {
  'card-testing': 7,
  'velocity-burst': 10,
  'impossible-travel': 2,
  'large-amount': 1,
  'compromised-merchant': 1,
};

interface Judged {
  readonly message: WorldMessage;
  /** Ids of the rules that fired, the deciding one first. */
  readonly fired: readonly string[];
}

/** What the detector says to the first hours of a world in which no card has a history yet. */
function judge(hours: number): Judged[] {
  const startMs = Date.UTC(2026, 5, 9, 9);
  const untilMs = startMs + hours * HOUR_MS;
  const world = cardWorld({
    seed: 5,
    cards,
    merchants: 1_000,
    startMs,
    paymentsPerCardPerDay: PER_CARD_PER_DAY,
    rhythm: 'even',
  });
  const { context } = contextOf(new HandClock());
  const columns = makeColumns(cardState, cards);
  const steps = [
    cardPatterns(() => DEFAULT_PATTERN_PARAMETERS, { onExpired: () => undefined }),
    cardFeatures,
    rememberPayment,
  ].map((step) => step.open(context, columns));
  const source = jsonPayments({ topic: 't', featureCount: FEATURE_COUNT });
  const batch = source.makeBatch(BATCH);
  const rules = compileRules(builtInRuleSet);
  const breakers = new RuleBreakers();
  const slots = new Map<string, number>();
  const judged: Judged[] = [];
  for (let messages = world.next(untilMs, BATCH); messages.length > 0; messages = world.next(untilMs, BATCH)) {
    recordsOf(
      messages.map(({ value }) => value),
      batch.records,
    );
    source.decode(batch, batch.records, { reject: (_, code, message) => expect.fail(`${code}: ${message}`) });
    messages.forEach(({ key, payment }, row) => {
      const slot = slots.get(key) ?? slots.size;
      slots.set(key, slot);
      batch.merchantRisk[row] = worldMerchantRisk(payment?.merchantId ?? '');
      for (const step of steps) step.apply(batch, row, slot);
      const features = batch.features.subarray(row * FEATURE_COUNT, (row + 1) * FEATURE_COUNT);
      batch.score[row] = 1 / (1 + Math.exp(-explain(model, features).margin));
    });
    rules.evaluate(batch, breakers);
    messages.forEach((message, row) => {
      judged.push({ message, fired: rules.firedAt(row).map(({ rule }) => rule.id) });
    });
  }
  return judged;
}

describe('the alerts of the simulated card world', () => {
  let judged: Judged[] = [];
  beforeAll(() => {
    judged = judge(2);
  });
  const isAlert = ({ fired }: Judged) => fired.length > 0;
  const of = (scenario: Scenario | null) => judged.filter(({ message }) => message.scenario === scenario);

  it('leave nearly all honest payments alone', () => {
    const honest = of(null);
    expect(honest.length).toBeGreaterThan(100_000);
    expect(honest.filter(isAlert).length / honest.length).toBeLessThan(0.003);
  });

  it.each(SCENARIOS.map((scenario) => [scenario]))('find the scenario: %s', (scenario) => {
    const byScheme = Map.groupBy(of(scenario), ({ message }) =>
      scenario === 'compromised-merchant' ? message.payment?.merchantId : message.key,
    );
    const schemes = [...byScheme.values()].filter(({ length }) => length >= WHOLE[scenario]);
    expect(schemes.length).toBeGreaterThan(4);
    expect(schemes.filter((payments) => payments.some(isAlert)).length / schemes.length).toBeGreaterThan(0.9);
  });

  it('are of every kind that payments can cause, and none of them is nearly all', () => {
    const firings = judged.flatMap(({ fired }) => fired);
    const kinds = Map.groupBy(firings, (id) => id);
    const paymentRules = builtInRuleSet.rules.filter(({ trigger }) => trigger === 'payment').map(({ id }) => id);
    expect([...kinds.keys()].sort()).toEqual([...paymentRules].sort());
    for (const firing of kinds.values()) expect(firing.length / firings.length).toBeLessThan(0.6);
  });

  it('come every second to every third at the 200 payments/s of the demo', () => {
    const secondHour = judged.slice(judged.length >> 1);
    const perSecond = (secondHour.filter(isAlert).length / HOUR_MS) * 1_000 * (200 / PER_SECOND);
    expect(perSecond).toBeGreaterThan(1 / 3);
    expect(perSecond).toBeLessThan(1.5);
  });
});
