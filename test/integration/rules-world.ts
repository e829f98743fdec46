/** Owns what tests of the rules API start from: a rule book of their own in Postgres, the API over it, a made-up roll-out. */
import { fileURLToPath } from 'node:url';
import supertest from 'supertest';
import { openOnnxScorer } from '../../src/adapters/onnx/onnx-scorer.js';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresRuleStore } from '../../src/adapters/postgres/rule-store.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { type Api, createApi } from '../../src/api/api.js';
import type { RuleParts } from '../../src/api/parts.js';
import { CARD_FEATURES } from '../../src/fraud/features/feature-list.js';
import { jsonPayments } from '../../src/fraud/payments/decode-json.js';
import { builtInRuleSet } from '../../src/fraud/rules/built-in-rules.js';
import type { RolloutState } from '../../src/fraud/rules/rollout-view.js';
import type { RuleSet } from '../../src/fraud/rules/rule.js';
import { RuleBook } from '../../src/fraud/rules/rule-book.js';
import { RuleTrial } from '../../src/fraud/rules/rule-trial.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { bearer } from '../support/actors.js';
import { BARE_PARTS } from '../support/bare-parts.js';

export const RULES_TOPIC = 'fraud.rules';
const MODEL = fileURLToPath(new URL('../../models/card-risk/1', import.meta.url));

export interface RulesWorld {
  readonly database: Database;
  readonly parts: RuleParts;
  readonly api: Api;
  /** Failures that the API told nobody else of. */
  readonly unexpected: unknown[];
  rollout: RolloutState;
  /** Asks as a role, or as `role:id`. */
  as(who: string): ReturnType<typeof supertest.agent>;
  /** What the topic is owed, in order. */
  published(): Promise<RuleSet[]>;
  close(): Promise<void>;
}

export function ruleParts({ dataSource }: Database, clock: { now(): number }, rollout: () => RolloutState): RuleParts {
  const store = new PostgresRuleStore(dataSource, new PostgresWrites(dataSource, clock), RULES_TOPIC);
  return {
    book: new RuleBook(store, { fourEyes: true }),
    trial: new RuleTrial({
      payments: jsonPayments({ topic: 'payments.raw', featureCount: CARD_FEATURES.length }),
      outOfOrdernessMs: 5_000,
      openScorer: () => openOnnxScorer(MODEL),
    }),
    rollout: { state: rollout },
  };
}

export const NO_ROLLOUT: RolloutState = { partitions: 2, takeUps: [], trips: [], leftOut: 0, trouble: null };

/** A world whose book has been seeded with the built-in rules. */
export async function openRulesWorld(url: string): Promise<RulesWorld> {
  const database = await openDatabase({ url });
  const unexpected: unknown[] = [];
  const parts = ruleParts(database, systemClock, () => world.rollout);
  await parts.book.seed(builtInRuleSet, { isEmpty: true });
  const api = await createApi({
    ...BARE_PARTS,
    database,
    rules: parts,
    onUnexpected: (error) => unexpected.push(error),
  });
  const world: RulesWorld = {
    database,
    parts,
    api,
    unexpected,
    rollout: NO_ROLLOUT,
    as: (who) => supertest.agent(api.app.getHttpServer()).set(bearer(who)),
    published: async () => {
      const rows: { value: string }[] = await database.dataSource.query(
        'SELECT value FROM outbox WHERE topic = $1 ORDER BY sequence',
        [RULES_TOPIC],
      );
      return rows.map(({ value }) => JSON.parse(value));
    },
    close: async () => {
      await api.close();
      await parts.trial.close();
      await database.close();
    },
  };
  return world;
}
