/**
 * Owns the settings of fraud detection: the merchant-risk lookup, model, patterns, rules, card tokens and the simulated
 * card world of the demo. Neighbour: `schema.ts` puts them into the whole.
 */
import { z } from 'zod';
import { BREAKER_DEFAULTS } from '../../fraud/enrichment/circuit-breaker.js';
import { patternParametersSchema } from '../../fraud/patterns/pattern-parameters.js';
import { MAX_BREAKER_FAILURES, RULE_BREAKER_DEFAULTS } from '../../fraud/rules/rule-breakers.js';
import { MIN_MERCHANTS } from '../../fraud/world/population.js';
import { setting } from './setting.js';

const ms = (defaultMs: number, minimum: number, maximum: number, doc: string) =>
  setting(z.int().min(minimum).max(maximum).default(defaultMs), { doc, unit: 'ms' });
const whole = (defaultValue: number, minimum: number, maximum: number, unit: string, doc: string) =>
  setting(z.int().min(minimum).max(maximum).default(defaultValue), { doc, unit });
const optionalFile = (doc: string, defaultNote: string) =>
  setting(z.string().min(1).optional().describe('a path'), { doc, defaultNote, path: true });

const dayMs = 86_400_000;

export const merchantRiskSettings = z.object({
  url: setting(
    z
      .string()
      .regex(/^https?:\/\/\S+$/)
      .optional()
      .describe('an http or https address'),
    {
      doc: 'Address of the merchant-risk service.',
      defaultNote: 'a small one of our own where the demo runs, else the risk table alone',
    },
  ),
  timeoutMs: ms(
    2_000,
    1,
    60_000,
    'Time that one lookup may take; then the risk table answers and the alert says degraded.',
  ),
  inFlight: whole(500, 1, 10_000, 'lookups', 'Lookups under way at once, at most, in this process.'),
  cacheSize: whole(50_000, 0, 10_000_000, 'merchants', 'Answers remembered by each worker.'),
  cacheExpiryMs: ms(300_000, 0, dayMs, 'How long an answer is remembered.'),
  breaker: z.object({
    failureShare: setting(z.number().min(0.01).max(1).default(BREAKER_DEFAULTS.failureShare), {
      doc: 'Share of failed lookups that cuts the service off.',
    }),
    window: whole(
      BREAKER_DEFAULTS.window,
      1,
      100_000,
      'lookups',
      'How many of the last lookups that share is taken of.',
    ),
    minOutcomes: whole(BREAKER_DEFAULTS.minOutcomes, 1, 100_000, 'lookups', 'Lookups needed before that share counts.'),
    consecutiveFailures: whole(
      BREAKER_DEFAULTS.consecutiveFailures,
      1,
      100_000,
      'lookups',
      'Failed or timed-out lookups in a row that cut the service off at once, whatever the share.',
    ),
    openMs: ms(BREAKER_DEFAULTS.openMs, 10, dayMs, 'How long the service stays cut off before it is tried again.'),
    probes: whole(
      BREAKER_DEFAULTS.probes,
      1,
      1_000,
      'lookups',
      'Lookups that must all succeed before the service is trusted again.',
    ),
  }),
});

export const modelSettings = z.object({
  directory: optionalFile('Directory with the model and its metadata.', 'the model that ships with the project'),
});

/** Types, ranges and defaults are those of the patterns themselves; only the words are ours. */
const { cardTesting, velocityBurst, impossibleTravel } = patternParametersSchema.shape;
const testing = cardTesting.unwrap().shape;
const burst = velocityBurst.unwrap().shape;
const travel = impossibleTravel.unwrap().shape;

export const patternSettings = z.object({
  cardTesting: z.object({
    smallMaxMinor: setting(testing.smallMaxMinor, {
      doc: 'Payments up to this amount count as small.',
      unit: 'minor units',
    }),
    largeMinMinor: setting(testing.largeMinMinor, {
      doc: 'A payment from this amount on is the large one.',
      unit: 'minor units',
    }),
    minSmall: setting(testing.minSmall, { doc: 'Small payments that must come before it.', unit: 'payments' }),
    withinMs: setting(testing.withinMs, { doc: 'Time from the first small payment to the large one.', unit: 'ms' }),
    unfinishedMinSmall: setting(testing.unfinishedMinSmall, {
      doc: 'So many small payments without a large one in time are told of as an unfinished test.',
      unit: 'payments',
    }),
  }),
  velocityBurst: z.object({
    minPayments: setting(burst.minPayments, {
      doc: 'So many payments of a card within the time are a burst.',
      unit: 'payments',
    }),
    withinMs: setting(burst.withinMs, { doc: 'The time in which they are counted.', unit: 'ms' }),
  }),
  impossibleTravel: z.object({
    minSpeedKmh: setting(travel.minSpeedKmh, {
      doc: 'Two payments that need a faster journey are impossible travel.',
      unit: 'km/h',
    }),
    minDistanceKm: setting(travel.minDistanceKm, {
      doc: 'Shorter distances are not looked at: places are not exact.',
      unit: 'km',
    }),
    countryChangeWithinMs: setting(travel.countryChangeWithinMs, {
      doc: 'Where coordinates are missing: another country within this time is impossible travel; 0 turns this off.',
      unit: 'ms',
    }),
  }),
});

export const ruleSettings = z.object({
  file: optionalFile(
    'JSON file with the rules and pattern parameters that an empty rule book begins with; a book that has rules keeps them.',
    'the built-in rules',
  ),
  fourEyes: setting(z.boolean().optional(), {
    doc: 'Somebody else than its author must bring a version of a rule, or of the pattern parameters, live.',
    defaultNote: 'true, but false where the demo runs',
  }),
  breaker: z.object({
    failures: setting(z.int().min(1).max(MAX_BREAKER_FAILURES).default(RULE_BREAKER_DEFAULTS.failures), {
      doc: 'A task stops evaluating a version of a rule after so many failures within failures / share evaluations.',
      unit: 'failures',
    }),
    share: setting(z.number().min(0.0001).max(1).default(RULE_BREAKER_DEFAULTS.share), {
      doc: 'The share of evaluations that may fail: 0.01 with 20 failures looks at the last 2,000 evaluations.',
    }),
  }),
});

export const cardTokenSettings = z.object({
  secret: setting(z.string().min(32).optional().describe('text of 32 characters or more'), {
    doc: 'Key with which card numbers in clear are made into tokens. All processes of a pipeline need the same.',
    defaultNote: 'made at the first start and kept in the data directory',
    secret: true,
  }),
  secretFile: setting(z.string().min(1).optional().describe('a file'), {
    doc: 'File with the value of cardToken.secret.',
    path: true,
    contentOf: 'cardToken.secret',
  }),
});

export const demoSettings = z.object({
  enabled: setting(z.boolean().optional(), {
    doc: 'Let a simulated card world pay into the payments topic.',
    defaultNote: 'true on the embedded backend, false on Kafka',
    flagAlias: 'demo',
  }),
  ratePerSecond: setting(z.number().min(0.1).max(50_000).default(200), {
    doc: 'Simulated payments.',
    unit: 'payments/s',
    flagAlias: 'demo-rate',
  }),
  cards: setting(z.int().min(1).max(1_000_000_000).optional(), {
    doc: 'Cards of the simulated world. Few cards at a high rate look like bursts, and are alerted.',
    unit: 'cards',
    defaultNote: 'so many that each pays 40 times a day',
  }),
  merchants: whole(1_000, MIN_MERCHANTS, 1_000_000, 'merchants', 'Merchants of the simulated world.'),
  seed: whole(1, 0, 4_294_967_295, '', 'The same seed makes the same cards, merchants and habits.'),
  fraudPerThousand: setting(z.number().min(0).max(1_000).default(1), {
    doc: 'Fraud schemes begun, each of 1 to 16 payments.',
    unit: 'a thousand payments',
  }),
  latePerThousand: setting(z.number().min(0).max(1_000).default(0.2), {
    doc: 'Payments that arrive 6 to 60 s after they happened.',
    unit: 'a thousand payments',
  }),
  malformedPerThousand: setting(z.number().min(0).max(1_000).default(0.5), {
    doc: 'Simulated messages that cannot be read, so that dead letters are seen at work.',
    unit: 'a thousand payments',
  }),
});
