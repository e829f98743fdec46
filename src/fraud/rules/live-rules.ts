/**
 * Owns rule sets in force: one record of the compacted rules topic brings a whole set, with the patterns' parameters, to
 * every task at an epoch boundary. Neighbours: `rule-book.ts` publishes the record, the task applies it between epochs,
 * `../alerts/emit-alerts.ts` and `../patterns/card-patterns.ts` read what is in force, the API shows the take-ups.
 *
 * V1 A set is one record, so no task ever holds half of one; every row of an epoch meets the same set.
 * V2 What took effect is written in the very epoch in which it did, with the offset from which on it holds.
 * V3 A record that cannot be used keeps the set in force, and is told of in the take-up.
 * V4 The last usable record of the topic is in force, whatever its version: after compaction a task that starts sees no
 *    other, and tasks must agree. To go back is to publish the old content as a new version.
 */
import { createHash } from 'node:crypto';
import type { BroadcastState, BroadcastStep, StepContext } from '../../stream/pipeline/pipeline.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import { type CompiledRuleSet, compileRules } from './compile-rules.js';
import { rolloutRecord, type TakeUp } from './rollout.js';
import { RULE_SET_KEY, type RuleSet } from './rule.js';
import { RULE_BREAKER_DEFAULTS, type RuleBreakerLimits, RuleBreakers } from './rule-breakers.js';
import { parseRuleSet } from './rule-set.js';

export interface LiveRulesStep extends BroadcastStep {
  readonly rolloutsTopic: string;
  /** The set in force in a task opened in this thread; the initial one before that and after it closed. */
  rulesOf(taskId: string): CompiledRuleSet;
  /** The breakers of that task's rules. */
  breakersOf(taskId: string): RuleBreakers;
  patternsOf(taskId: string): PatternParameters;
}

/** Sets remembered in a thread: its tasks read the same records one after the other. */
const REMEMBERED = 8;
/** Of a refusal's reason: it is read in a list. */
const MAX_REASON = 2_000;

export interface LiveRulesOptions {
  readonly topic: string;
  readonly rolloutsTopic: string;
  /** In force until the topic has a set. */
  readonly initial: RuleSet;
  /** In the order of the model's input. */
  readonly featureNames: readonly string[];
  readonly breaker?: RuleBreakerLimits;
}

interface InForce {
  rules: CompiledRuleSet;
  readonly breakers: RuleBreakers;
  refused: TakeUp['refused'];
}

/** A record of the topic: the set to run, or why there is none. */
type ReadSet = { readonly rules: CompiledRuleSet } | { readonly refused: NonNullable<TakeUp['refused']> };

/**
 * The broadcast step. Counters: `rules.refused` (records that could not be used), `rules.takeUps`. One step value serves
 * the tasks of one thread: they share compiled sets, each has its own breakers.
 */
export function liveRules(options: LiveRulesOptions): LiveRulesStep {
  const { topic, rolloutsTopic, initial, breaker = RULE_BREAKER_DEFAULTS } = options;
  const remembered = new Remembered<ReadSet>(REMEMBERED);
  const first = compileRules(initial, options);
  const begin = (): InForce => {
    const breakers = new RuleBreakers(breaker);
    breakers.watch(initial.rules);
    return { rules: first, breakers, refused: null };
  };
  const read = (key: Buffer | null, value: Buffer | null): ReadSet => {
    if (key?.toString('utf8') !== RULE_SET_KEY) return unusable(null, `a record has the key ${String(key)}`);
    if (value === null) return { rules: first };
    const bytes = createHash('sha256').update(value).digest('base64');
    return remembered.get(bytes, () => readSet(value, options));
  };
  const tasks = new Map<string, InForce>();
  const closed = begin();
  const of = (taskId: string) => tasks.get(taskId) ?? closed;
  return {
    kind: 'broadcast',
    id: 'rules',
    topic,
    rolloutsTopic,
    // A task that opens again (recovery) reads the topic from its beginning; what its breakers knew is gone.
    open(context: StepContext): BroadcastState {
      const inForce = begin();
      tasks.set(context.taskId, inForce);
      return {
        id: 'rules',
        topic,
        apply: (key, value) => bringIn(inForce, read(key, value), context),
        took: (outputs, fromOffset) => {
          context.count('rules.takeUps');
          outputs.emit(rolloutRecord(takeUpOf(inForce, context, fromOffset), rolloutsTopic), { prompt: false });
        },
        // The task may have opened again already: then what is in force is another's, and stays.
        close: () => {
          if (tasks.get(context.taskId) === inForce) tasks.delete(context.taskId);
        },
      };
    },
    rulesOf: (taskId) => of(taskId).rules,
    breakersOf: (taskId) => of(taskId).breakers,
    patternsOf: (taskId) => of(taskId).rules.patterns,
  };
}

function bringIn(inForce: InForce, read: ReadSet, context: StepContext): void {
  if ('refused' in read) {
    // V3
    inForce.refused = read.refused;
    context.count('rules.refused');
    return;
  }
  inForce.rules = read.rules;
  inForce.breakers.watch(read.rules.rules.map(({ rule }) => rule));
  inForce.refused = null;
}

/** Whatever is wrong with the record is a refusal: an exception here would stop every task at every start. */
function readSet(value: Buffer, options: LiveRulesOptions): ReadSet {
  let input: unknown = null;
  try {
    input = JSON.parse(value.toString('utf8'));
    return { rules: compileRules(parseRuleSet(input), options) };
  } catch (error) {
    return unusable(versionOf(input), error instanceof Error ? error.message : String(error));
  }
}

function unusable(version: number | null, reason: string): ReadSet {
  return { refused: { version, reason: reason.slice(0, MAX_REASON) } };
}

function versionOf(input: unknown): number | null {
  const version = typeof input === 'object' && input !== null ? (input as { version?: unknown }).version : null;
  return typeof version === 'number' && Number.isSafeInteger(version) ? version : null;
}

function takeUpOf({ rules, refused }: InForce, { taskId, source, clock }: StepContext, fromOffset: number): TakeUp {
  return {
    kind: 'take-up',
    taskId,
    partition: source.partition,
    ruleSet: { version: rules.version, hash: rules.hash },
    fromOffset,
    at: clock.now(),
    refused,
  };
}

/** The values used last, so many of them. */
class Remembered<T> {
  private readonly values = new Map<string, T>();

  constructor(private readonly limit: number) {}

  get(key: string, make: () => T): T {
    const value = this.values.get(key) ?? make();
    this.values.delete(key);
    this.values.set(key, value);
    if (this.values.size > this.limit) {
      const [oldest] = this.values.keys();
      this.values.delete(oldest);
    }
    return value;
  }
}
