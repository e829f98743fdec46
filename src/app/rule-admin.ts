/**
 * Owns how the rule book is put together: its store, what an empty one begins with, and trying rules out. Neighbours:
 * `analyst-side.ts` hands it to the API, `initial-rules.ts` has the rules of the configuration, the outbox relay carries
 * what is published here.
 */
import { openOnnxScorer } from '../adapters/onnx/onnx-scorer.js';
import type { Database } from '../adapters/postgres/database.js';
import { PostgresRuleStore } from '../adapters/postgres/rule-store.js';
import type { PostgresWrites } from '../adapters/postgres/writes.js';
import type { RuleParts } from '../api/parts.js';
import { CARD_FEATURES } from '../fraud/features/feature-list.js';
import { tokeniseCard } from '../fraud/payments/card-token.js';
import { jsonPayments } from '../fraud/payments/decode-json.js';
import { RuleBook } from '../fraud/rules/rule-book.js';
import { RuleTrial } from '../fraud/rules/rule-trial.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import type { Closers } from './closers.js';
import type { Configuration } from './configuration/index.js';
import { initialRules } from './initial-rules.js';
import type { OwedWork } from './owed-work.js';
import { startRolloutView } from './rollout.js';
import { SHIPPED_MODEL } from './version.js';

export interface RuleAdminOptions {
  readonly configuration: Configuration;
  readonly database: Database;
  readonly writes: PostgresWrites;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly closers: Closers;
  /** Gets what an empty book begins with. */
  readonly owed: OwedWork;
  say(level: 'info' | 'warn', message: string): void;
}

/** Seeds an empty book, and pauses in it from then on what trips in a task. Errors, of the seed: rule-set-invalid, rules-unreadable, database-unavailable, those of the backend. */
export function startRuleAdmin(options: RuleAdminOptions): RuleParts {
  const { configuration, database, writes, closers } = options;
  const { topics, rules } = configuration;
  const store = new PostgresRuleStore(database.dataSource, writes, topics.rules);
  const book = new RuleBook(store, { fourEyes: rules.fourEyes });
  options.owed.add(() => seed(book, options));
  const secret = configuration.cardToken.secret;
  const trial = new RuleTrial({
    payments: jsonPayments({
      topic: topics.payments,
      featureCount: CARD_FEATURES.length,
      ...(secret === undefined ? {} : { tokenise: tokeniseCard(secret) }),
    }),
    outOfOrdernessMs: configuration.watermark.outOfOrdernessMs,
    openScorer: () => openOnnxScorer(configuration.model.directory ?? SHIPPED_MODEL),
  });
  closers.add('rule trials', () => trial.close());
  const rollout = startRolloutView(options, (trip) => book.pauseTripped(trip));
  return { book, trial, rollout };
}

async function seed(book: RuleBook, { configuration, admin, say }: RuleAdminOptions): Promise<void> {
  const { topics, rules } = configuration;
  const initial = await initialRules(configuration);
  const ranges = await admin.ranges(topics.rules);
  const outcome = await book.seed(initial, { isEmpty: ranges.every(({ start, end }) => start === end) });
  if (outcome === 'seeded') {
    const source = rules.file === undefined ? 'the built-in rules' : rules.file;
    say('info', `the rule book was empty and begins with ${source}: ${initial.rules.length} rules`);
  } else if (outcome === 'published-again') {
    say('info', `topic ${topics.rules} was empty: the newest rule set of the book is published again`);
  } else if (rules.file !== undefined) {
    say('info', `rules.file (${rules.file}) is not read again: the rule book has rules, change them under /v1/rules`);
  }
}
