/**
 * Owns the parameters of the built-in patterns: data with defaults, checked where they enter. Amounts in minor units
 * of the payment's currency, without conversion. Neighbours: one file a pattern, `card-patterns.ts` runs them.
 */
import { z } from 'zod';

const MINUTE_MS = 60_000;
/** The ring remembers 32 payments; with the present one no count can pass 33. */
const MAX_REMEMBERED = 33;

const withinMs = z.int().min(1_000).max(86_400_000);

export const patternParametersSchema = z.strictObject({
  /** Several small payments to see whether a stolen card works, then a large one. */
  cardTesting: z
    .strictObject({
      smallMaxMinor: z.int().min(0).default(500),
      largeMinMinor: z.int().min(1).default(20_000),
      minSmall: z.int().min(1).max(30).default(3),
      withinMs: withinMs.default(10 * MINUTE_MS),
      /** So many small ones and no large one in time: told of as an unfinished test. */
      unfinishedMinSmall: z.int().min(1).max(30).default(5),
    })
    .refine((p) => p.largeMinMinor > p.smallMaxMinor, 'largeMinMinor must be above smallMaxMinor')
    .prefault({}),
  /** Many payments in a short time. */
  velocityBurst: z
    .strictObject({
      minPayments: z.int().min(2).max(MAX_REMEMBERED).default(8),
      withinMs: withinMs.default(10 * MINUTE_MS),
    })
    .prefault({}),
  /** Two places further apart than a card's holder can travel. */
  impossibleTravel: z
    .strictObject({
      minSpeedKmh: z.number().positive().default(900),
      minDistanceKm: z.number().positive().default(300),
      /** Where coordinates are missing: another country within this time. 0 turns it off. */
      countryChangeWithinMs: z
        .int()
        .min(0)
        .max(86_400_000)
        .default(30 * MINUTE_MS),
    })
    .prefault({}),
});

export type PatternParameters = z.infer<typeof patternParametersSchema>;

export const DEFAULT_PATTERN_PARAMETERS: PatternParameters = patternParametersSchema.parse({});
