/** Owns the fraud pipeline on the in-memory log, with live rules and a model that scores by amount. */
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { decodeAlert } from '../../src/fraud/alerts/encode-alert.js';
import { riskFromTable } from '../../src/fraud/enrichment/risk-from-table.js';
import { riskTable } from '../../src/fraud/enrichment/risk-table.js';
import { CARD_FEATURES, FEATURE_COUNT, FEATURE_INDEX, featuresHash } from '../../src/fraud/features/feature-list.js';
import { jsonPayments } from '../../src/fraud/payments/decode-json.js';
import { fraudPipeline } from '../../src/fraud/pipeline.js';
import { liveRules } from '../../src/fraud/rules/live-rules.js';
import { type RolloutRecord, rolloutRecordSchema } from '../../src/fraud/rules/rollout.js';
import { RULE_SET_KEY } from '../../src/fraud/rules/rule.js';
import { parseRuleSet } from '../../src/fraud/rules/rule-set.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { Task, type TaskEnd } from '../../src/stream/runtime/task.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../src/stream/testing/memory-store.js';
import { kitOptions, until } from './task-world.js';

const TOPICS = {
  payments: 'payments',
  alerts: 'alerts',
  dead: 'dead',
  log: 'log',
  risk: 'risk',
  rules: 'rules',
  rollouts: 'rollouts',
} as const;

const featureNames = CARD_FEATURES.map(({ name }) => name);

/** Amount over 100,000 minor units, as the score. */
const scorer = {
  model: {
    name: 'by-amount',
    sha256: 'a'.repeat(64),
    featuresHash,
    featureNames,
  },
  score: async (features: Float32Array, rows: number, into: Float64Array) => {
    for (let row = 0; row < rows; row++) {
      into[row] = Math.min(1, features[row * FEATURE_COUNT + FEATURE_INDEX.amountMinor] / 100_000);
    }
  },
  close: async () => {},
} as unknown as Parameters<typeof fraudPipeline>[0]['scorer'];

export const START = Date.UTC(2026, 0, 5, 12);

export class FraudWorld {
  readonly log = makeMemoryLog();
  private readonly disk = new MemoryDisk();
  private readonly snapshots = memorySnapshotStore(this.disk);
  private paid = 0;

  private constructor(private readonly initial: unknown) {}

  /** `initial`: in force until the topic has a set, as in a rules file. */
  static async begin(initial: unknown = { version: 1, rules: [] }): Promise<FraudWorld> {
    const world = new FraudWorld(initial);
    const admin = await world.log.open().openAdmin();
    await admin.ensure(Object.values(TOPICS).map((name) => ({ name, partitions: 1, cleanup: 'delete' as const })));
    return world;
  }

  /** A task as a fresh process would make it. */
  task() {
    const payments = jsonPayments({ topic: TOPICS.payments, featureCount: FEATURE_COUNT });
    const table = riskTable({ topic: TOPICS.risk });
    const pipeline = fraudPipeline({
      name: 'fraud',
      payments,
      outOfOrdernessMs: 1_000,
      merchantRisk: riskFromTable(table),
      riskTable: table,
      scorer,
      model: { name: 'by-amount', sha256: 'a'.repeat(64), featuresHash, featureNames, explain: () => [] },
      rules: liveRules({
        topic: TOPICS.rules,
        rolloutsTopic: TOPICS.rollouts,
        initial: parseRuleSet(this.initial),
        featureNames,
      }),
      alertsTopic: TOPICS.alerts,
      deadLettersTopic: TOPICS.dead,
      deadLetterLimits: { burst: 50, share: 0.9, shareWindow: 1_000 },
    });
    return new Task({
      partition: 0,
      worker: 0,
      definition: pipeline,
      backend: this.log.open(),
      openStore: memoryStateStore({ disk: this.disk }),
      snapshots: this.snapshots,
      disk: this.disk.local,
      clock: systemClock,
      options: { ...kitOptions, stateLogTopic: TOPICS.log },
      say: () => {},
    });
  }

  /** Runs tasks one after another until `done`; a fenced one is followed by a new one. */
  async run(done: (status: ReturnType<Task<never, never>['status']>) => boolean): Promise<void> {
    for (;;) {
      const task = this.task();
      let ended: TaskEnd | null = null;
      let failure: unknown = null;
      const run = task.run().then(
        (how) => {
          ended = how;
        },
        (error: unknown) => {
          failure = error;
        },
      );
      await until(() => ended !== null || failure !== null || done(task.status()));
      if (failure !== null) throw failure;
      if (ended !== null) continue;
      task.stop();
      await run;
      return;
    }
  }

  /** Payments of one card, a minute after one another. */
  async pay(payments: readonly Readonly<Record<string, unknown>>[]): Promise<void> {
    const records = payments.map((payment) => {
      const number = this.paid++;
      const whole = {
        paymentId: `p-${number}`,
        cardId: 'card-1',
        merchantId: 'm-1',
        amountMinor: 1_000,
        currency: 'EUR',
        occurredAt: START + number * 60_000,
        ...payment,
      };
      return record(TOPICS.payments, whole.cardId, JSON.stringify(whole));
    });
    await this.write(records);
  }

  /** Publishes a rule set (as in a rules file), or whatever else is given. */
  async publish(value: unknown, key: string = RULE_SET_KEY): Promise<void> {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    await this.write([record(TOPICS.rules, key, value === null ? null : text)]);
  }

  get alerts(): readonly Alert[] {
    return this.log.records(TOPICS.alerts).map(({ value }) => decodeAlert(value));
  }

  /** Take-ups and trips in the order of the log. */
  get rollouts(): readonly RolloutRecord[] {
    return this.log.records(TOPICS.rollouts).map(({ value }) => rolloutRecordSchema.parse(JSON.parse(String(value))));
  }

  private async write(records: readonly ReturnType<typeof record>[]): Promise<void> {
    await (await this.log.open().openWriter()).write(records);
  }
}

function record(topic: string, key: string, value: string | null) {
  return {
    topic,
    key: Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: [],
    timestampMs: START,
  };
}
