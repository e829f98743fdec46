import { beforeEach, describe, expect, it } from 'vitest';
import type { WriteRequest } from '../../../src/fraud/audit/write-request.js';
import { DEFAULT_PATTERN_PARAMETERS } from '../../../src/fraud/patterns/pattern-parameters.js';
import { builtInRuleSet } from '../../../src/fraud/rules/built-in-rules.js';
import type { RuleTrip } from '../../../src/fraud/rules/rollout.js';
import type { RuleSet } from '../../../src/fraud/rules/rule.js';
import { RuleBook } from '../../../src/fraud/rules/rule-book.js';
import type { RuleState } from '../../../src/fraud/rules/rule-book-lifecycle.js';
import { parseRuleSet, ruleSetHash } from '../../../src/fraud/rules/rule-set.js';
import { anActor } from '../../support/actors.js';
import { MemoryRuleStore } from './rule-book-memory.js';

let store: MemoryRuleStore;
let book: RuleBook;
let relaxed: RuleBook;

beforeEach(async () => {
  store = new MemoryRuleStore();
  book = new RuleBook(store, { fourEyes: true });
  relaxed = new RuleBook(store, { fourEyes: false });
  await book.seed({ rules: [], patterns: DEFAULT_PATTERN_PARAMETERS }, { isEmpty: true });
});

const by = (id: string, principal = id): WriteRequest => ({
  actor: anActor('admin', id, principal),
  requestId: 'r-1',
  idempotency: null,
});
const content = (condition = 'score >= 0.5') => ({ name: 'A rule', condition, decision: 'review', severity: 'low' });
const ANY = Array.from({ length: 50 }, (_, i) => i);
const trip = (changes: Partial<RuleTrip> = {}): RuleTrip => ({
  kind: 'rule-trip',
  taskId: 'fraud-detection-0',
  partition: 0,
  ruleId: 'a',
  ruleVersion: 1,
  ruleSetVersion: 2,
  failures: 50,
  evaluations: 100,
  reason: 'index out of range',
  fromOffset: 7,
  at: 5,
  ...changes,
});

/** Brings rule `a` of two versions by Ann into a state, version 1 being the live one. */
async function inState(state: RuleState): Promise<void> {
  await book.create(by('ann'), 'a', content());
  await book.change(by('ann'), 'a', content('score >= 0.6'), ANY);
  if (state === 'draft') return;
  await book.bringLive(by('bob'), 'a', { version: 1, to: state === 'shadow' ? 'shadow' : 'active' }, ANY);
  if (state === 'paused') await book.pause(by('bob'), 'a', 'too loud', ANY);
}

const steps = {
  'activate 1': () => book.bringLive(by('bob'), 'a', { version: 1, to: 'active' }, ANY),
  'activate 2': () => book.bringLive(by('bob'), 'a', { version: 2, to: 'active' }, ANY),
  'activate 3': () => book.bringLive(by('bob'), 'a', { version: 3, to: 'active' }, ANY),
  'activate by its author': () => book.bringLive(by('ann'), 'a', { version: 2, to: 'active' }, ANY),
  'shadow 1': () => book.bringLive(by('bob'), 'a', { version: 1, to: 'shadow' }, ANY),
  'shadow 2': () => book.bringLive(by('bob'), 'a', { version: 2, to: 'shadow' }, ANY),
  'shadow by its author': () => book.bringLive(by('ann'), 'a', { version: 2, to: 'shadow' }, ANY),
  pause: () => book.pause(by('bob'), 'a', 'too loud', ANY),
  'pause by its author': () => book.pause(by('ann'), 'a', 'too loud', ANY),
  change: () => book.change(by('ann'), 'a', content('score >= 0.7'), ANY),
  'change to the same': () => book.change(by('bob'), 'a', content('score >= 0.6'), ANY),
  trip: () => book.pauseTripped(trip()),
  'trip of another version': () => book.pauseTripped(trip({ ruleVersion: 2 })),
  'trip of before': () => book.pauseTripped(trip({ ruleSetVersion: 1 })),
  remove: () => book.remove(by('bob'), 'a', ANY),
};
type Step = keyof typeof steps;

/** What each step leads to from each state: state, live version and whether a rule set was made; or the refusal's code. */
const TABLE: readonly (readonly [Step, Readonly<Record<RuleState, string>>])[] = [
  ['activate 1', { draft: 'active 1 +', shadow: 'active 1 +', active: 'active 1', paused: 'active 1 +' }],
  ['activate 2', { draft: 'active 2 +', shadow: 'active 2 +', active: 'active 2 +', paused: 'active 2 +' }],
  ['activate 3', allOf('rule-version-not-found')],
  ['activate by its author', allOf('four-eyes')],
  ['shadow 1', { draft: 'shadow 1 +', shadow: 'shadow 1', active: 'shadow 1 +', paused: 'shadow 1 +' }],
  ['shadow 2', { draft: 'shadow 2 +', shadow: 'shadow 2 +', active: 'shadow 2 +', paused: 'shadow 2 +' }],
  ['shadow by its author', allOf('four-eyes')],
  ['pause', { draft: 'rule-not-running', shadow: 'paused 1 +', active: 'paused 1 +', paused: 'paused 1' }],
  [
    'pause by its author',
    { draft: 'rule-not-running', shadow: 'paused 1 +', active: 'paused 1 +', paused: 'paused 1' },
  ],
  ['change', { draft: 'draft null', shadow: 'shadow 1', active: 'active 1', paused: 'paused 1' }],
  ['change to the same', { draft: 'draft null', shadow: 'shadow 1', active: 'active 1', paused: 'paused 1' }],
  ['trip', { draft: 'draft null', shadow: 'paused 1 +', active: 'paused 1 +', paused: 'paused 1' }],
  ['trip of another version', { draft: 'draft null', shadow: 'shadow 1', active: 'active 1', paused: 'paused 1' }],
  ['trip of before', { draft: 'draft null', shadow: 'shadow 1', active: 'active 1', paused: 'paused 1' }],
  ['remove', { draft: 'gone', shadow: 'rule-has-run', active: 'rule-has-run', paused: 'rule-has-run' }],
];
function allOf(outcome: string): Record<RuleState, string> {
  return { draft: outcome, shadow: outcome, active: outcome, paused: outcome };
}

describe('the life of a rule', () => {
  const cases = TABLE.flatMap(([step, outcomes]) =>
    Object.entries(outcomes).map(([state, outcome]) => [step, state as RuleState, outcome] as const),
  );
  it.each(cases)('%s, from %s: %s', async (step, state, outcome) => {
    await inState(state);
    const before = store.kept;
    const refused = await Promise.resolve(steps[step]()).then(
      () => null,
      (error: unknown) => error,
    );
    if (refused !== null) {
      expect(refused).toMatchObject({ code: outcome });
      expect(store.kept).toBe(before);
      return;
    }
    const entry = store.kept.entries.get('a');
    const made = store.kept.sets.length - before.sets.length;
    const is = entry === undefined ? 'gone' : `${entry.state} ${entry.liveVersion}`;
    expect(`${is}${made === 0 ? '' : ' +'}`).toBe(outcome);
    const isChange = entry?.revision !== before.entries.get('a')?.revision;
    // One audit entry for whatever changed, none for what did not.
    expect(store.kept.audited.length - before.audited.length).toBe(isChange ? 1 : 0);
    expect(store.kept.published.length - before.published.length).toBe(made);
  });

  it('keeps what runs while newer versions are written beside it, and goes back to an older one', async () => {
    await inState('active');
    await book.bringLive(by('bob'), 'a', { version: 2, to: 'active' }, ANY);
    await book.change(by('ann'), 'a', content('score >= 0.9'), ANY);
    expect(await book.rule('a')).toMatchObject({
      entry: { state: 'active', liveVersion: 2, newestVersion: 3 },
      live: { rule: { condition: 'score >= 0.6' } },
      newest: { rule: { condition: 'score >= 0.9' } },
    });
    await book.bringLive(by('bob'), 'a', { version: 1, to: 'active' }, ANY);
    expect((await book.ruleSet('newest')).ruleSet.rules).toMatchObject([
      { id: 'a', version: 1, condition: 'score >= 0.5' },
    ]);
  });

  it('never changes a version, and tells versions apart by hash and author', async () => {
    await inState('draft');
    const versions = await book.versions('a', 10, null);
    expect(versions.map(({ rule, author }) => [rule.version, author.id])).toEqual([
      [2, 'ann'],
      [1, 'ann'],
    ]);
    expect(new Set(versions.map(({ hash }) => hash)).size).toBe(2);
  });

  it('tells in the audit trail who did what, before and after', async () => {
    await inState('paused');
    expect(store.kept.audited.map(({ action, actor }) => [action, actor])).toEqual([
      ['rule-set.seeded', 'system:seed'],
      ['rule.created', 'ann'],
      ['rule.changed', 'ann'],
      ['rule.activated', 'bob'],
      ['rule.paused', 'bob'],
    ]);
    expect(store.kept.audited.at(-1)?.details).toMatchObject({
      before: { state: 'active', liveVersion: 1 },
      after: { state: 'paused', liveVersion: 1 },
      ruleSet: { version: 3 },
      reason: 'too loud',
    });
    expect(store.kept.audited[2]?.details).toMatchObject({
      before: { version: 1, condition: 'score >= 0.5' },
      after: { version: 2, condition: 'score >= 0.6' },
    });
  });
});

describe('a breaker', () => {
  it('pauses once, says why, and does not pause again what was resumed after it', async () => {
    await inState('active');
    expect([await book.pauseTripped(trip()), await book.pauseTripped(trip({ taskId: 't-1' }))]).toEqual([true, false]);
    expect((await book.rule('a')).entry.pause).toMatchObject({
      by: { id: 'system:rule-breaker' },
      reason: expect.stringContaining('index out of range'),
    });
    await book.bringLive(by('bob'), 'a', { version: 1, to: 'active' }, ANY);
    expect(await book.pauseTripped(trip())).toBe(false);
    expect(await book.pauseTripped(trip({ ruleSetVersion: 4 }))).toBe(true);
  });

  it('passes over a rule that the book does not know', async () => {
    expect(await book.pauseTripped(trip())).toBe(false);
  });
});

describe('authors and approvers', () => {
  it('may be one where that is allowed', async () => {
    await relaxed.create(by('ann'), 'a', content());
    const { entry } = await relaxed.bringLive(by('ann'), 'a', { version: 1, to: 'active' }, ANY);
    expect(entry.state).toBe('active');
  });

  it('are told apart for each version: whoever wrote the newest may approve the one before', async () => {
    await inState('draft');
    await book.change(by('bob'), 'a', content('score >= 0.8'), ANY);
    await expect(book.bringLive(by('bob'), 'a', { version: 3, to: 'shadow' }, ANY)).rejects.toMatchObject({
      code: 'four-eyes',
    });
    expect((await book.bringLive(by('bob'), 'a', { version: 2, to: 'shadow' }, ANY)).entry.state).toBe('shadow');
  });

  it.each([
    ['a person', 'a key of theirs', by('ann'), by('key:1', 'ann')],
    ['a key', 'its owner', by('key:1', 'ann'), by('ann')],
    ['a key', 'another key of its owner', by('key:1', 'ann'), by('key:2', 'ann')],
  ])('are told apart as people: what %s wrote, %s does not bring live', async (_, __, author, approver) => {
    await book.create(author, 'a', content());
    await book.changePatterns(
      author,
      { ...DEFAULT_PATTERN_PARAMETERS, velocityBurst: { minPayments: 4, withinMs: 60_000 } },
      ANY,
    );
    const wanted = { version: 1, to: 'active' } as const;
    await expect(book.bringLive(approver, 'a', wanted, ANY)).rejects.toMatchObject({ code: 'four-eyes' });
    await expect(book.activatePatterns(approver, 2, ANY)).rejects.toMatchObject({ code: 'four-eyes' });
    expect((await book.bringLive(by('key:3', 'bob'), 'a', wanted, ANY)).entry.state).toBe('active');
    expect((await book.activatePatterns(by('key:3', 'bob'), 2, ANY)).entry.liveVersion).toBe(2);
  });

  it('stay apart for pattern parameters, too', async () => {
    const wanted = { ...DEFAULT_PATTERN_PARAMETERS, velocityBurst: { minPayments: 4, withinMs: 60_000 } };
    await book.changePatterns(by('ann'), wanted, ANY);
    await expect(book.activatePatterns(by('ann'), 2, ANY)).rejects.toMatchObject({ code: 'four-eyes' });
    await book.activatePatterns(by('bob'), 2, ANY);
    expect((await book.ruleSet('newest')).ruleSet.patterns).toEqual(wanted);
    await book.activatePatterns(by('bob'), 1, ANY);
    expect((await book.ruleSet('newest')).ruleSet.patterns).toEqual(DEFAULT_PATTERN_PARAMETERS);
  });
});

describe('what is refused', () => {
  it('a change of what somebody else changed meanwhile', async () => {
    await book.create(by('ann'), 'a', content());
    const results = await Promise.allSettled([
      book.change(by('ann'), 'a', content('score >= 0.6'), [1]),
      book.change(by('bob'), 'a', content('score >= 0.7'), [1]),
      book.bringLive(by('bob'), 'a', { version: 1, to: 'active' }, [1]),
      book.pause(by('bob'), 'a', 'x', [1]),
    ]);
    expect(results.map((result) => (result.status === 'fulfilled' ? 'done' : result.reason.code))).toEqual([
      'done',
      'precondition-failed',
      'precondition-failed',
      'precondition-failed',
    ]);
    expect((await book.rule('a')).newest.rule.condition).toBe('score >= 0.6');
  });

  it('an approval of a rule that was removed and written anew since it was read', async () => {
    await book.create(by('ann'), 'a', content());
    await book.remove(by('ann'), 'a', [1]);
    await expect(book.rule('a')).rejects.toMatchObject({ code: 'rule-not-found' });
    await book.create(by('ann'), 'a', content('score >= 0.1'));
    await expect(book.bringLive(by('bob'), 'a', { version: 1, to: 'active' }, [1])).rejects.toMatchObject({
      code: 'precondition-failed',
    });
    expect((await book.versions('a', 10, null)).map(({ rule }) => rule.condition)).toEqual(['score >= 0.1']);
    expect(store.kept.audited.map(({ action }) => action).slice(-3)).toEqual([
      'rule.created',
      'rule.removed',
      'rule.created',
    ]);
  });

  it('an id that is taken, a rule that is not there, a content that is wrong', async () => {
    await book.create(by('ann'), 'a', content());
    await expect(book.create(by('bob'), 'a', content())).rejects.toMatchObject({ code: 'rule-exists' });
    await expect(book.change(by('bob'), 'b', content(), ANY)).rejects.toMatchObject({ code: 'rule-not-found' });
    await expect(book.create(by('bob'), 'b', content('scoer > 1'))).rejects.toMatchObject({ code: 'rule-invalid' });
  });

  it('more running rules than tasks take, and a record larger than a broker takes', async () => {
    const rules = Array.from({ length: 200 }, (_, i) => ({ ...builtInRuleSet.rules[0], id: `r-${i}` }));
    store.kept = new MemoryRuleStore().kept;
    await book.seed({ rules, patterns: DEFAULT_PATTERN_PARAMETERS }, { isEmpty: true });
    await book.create(by('ann'), 'z', content());
    await expect(book.bringLive(by('bob'), 'z', { version: 1, to: 'shadow' }, ANY)).rejects.toMatchObject({
      code: 'rule-set-full',
    });
    const wide = Array.from({ length: 250 }, (_, i) => `m-${i}-`.padEnd(64, 'x'));
    await book.pause(by('bob'), 'r-0', 'room', ANY);
    let refused: unknown = null;
    for (let i = 1; i < 60 && refused === null; i++) {
      await book.change(by('ann'), `r-${i}`, { ...content(), scope: { merchantIds: wide } }, ANY);
      refused = await book.bringLive(by('bob'), `r-${i}`, { version: 2, to: 'active' }, ANY).then(
        () => null,
        (error: unknown) => error,
      );
    }
    expect(refused).toMatchObject({ code: 'rule-set-too-large' });
    for (const set of store.kept.published) expect(JSON.stringify(set).length).toBeLessThanOrEqual(900_000);
  });
});

describe('seeding', () => {
  it('stores the set as version 1 of everything, publishes it, and does nothing the second time', async () => {
    store.kept = new MemoryRuleStore().kept;
    expect(await book.seed(builtInRuleSet, { isEmpty: true })).toBe('seeded');
    expect(await book.seed(builtInRuleSet, { isEmpty: false })).toBe('nothing');
    const rules = builtInRuleSet.rules.map((rule) => ({ ...rule, liveSince: 1 }));
    expect(store.kept.published).toEqual([{ ...builtInRuleSet, rules }]);
    // Tasks that run the built-in set until they read the topic run this very set.
    expect(store.kept.sets[0].hash).toBe(ruleSetHash(builtInRuleSet));
    expect(store.kept.audited).toMatchObject([{ action: 'rule-set.seeded', actor: 'system:seed' }]);
    expect((await book.rules(null, 100, null)).map(({ entry }) => entry.state)).toEqual(Array(7).fill('active'));
  });

  it('happens once, also where several processes start together', async () => {
    store.kept = new MemoryRuleStore().kept;
    const others = Array.from({ length: 3 }, () => book.seed(builtInRuleSet, { isEmpty: false }));
    expect((await Promise.all(others)).sort()).toEqual(['nothing', 'nothing', 'seeded']);
  });

  it('publishes the newest set again where the topic has lost it', async () => {
    await inState('active');
    expect(await book.seed(builtInRuleSet, { isEmpty: true })).toBe('published-again');
    expect(store.kept.published.at(-1)).toEqual((await book.ruleSet('newest')).ruleSet);
    expect(store.kept.sets).toHaveLength(2);
  });
});

describe('published rule sets', () => {
  it('tell a rule that was paused and resumed from one that ran on', async () => {
    store.kept = new MemoryRuleStore().kept;
    await relaxed.seed(builtInRuleSet, { isEmpty: true });
    await relaxed.pause(by('ann'), 'high-score', 'x', ANY);
    await relaxed.bringLive(by('bob'), 'high-score', { version: 1, to: 'active' }, ANY);
    const since = ({ rules }: RuleSet) => new Map(rules.map(({ id, liveSince }) => [id, liveSince]));
    const [first, second, third] = store.kept.published.map(since);
    expect([first, second, third].map((set) => set.get('high-score'))).toEqual([1, undefined, 3]);
    expect([first, second, third].map((set) => set.get('elevated-score'))).toEqual([1, 1, 1]);
  });

  it('equal the book after any sequence of changes, one for each change of what runs', async () => {
    for (let seed = 1; seed <= 30; seed++) await walk(seed);
  });
});

/** A random walk over a fresh book of four rules; names the seed that failed. */
async function walk(seed: number): Promise<void> {
  let state = seed * 2_654_435_761;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  store.kept = new MemoryRuleStore().kept;
  await relaxed.seed(
    { rules: builtInRuleSet.rules.slice(0, 2), patterns: DEFAULT_PATTERN_PARAMETERS },
    { isEmpty: true },
  );
  const ids = ['card-testing', 'elevated-score', 'a', 'a-b', 'ab'];
  for (let step = 0; step < 40; step++) {
    const id = ids[random(ids.length)];
    const version = 1 + random(3);
    const operations = [
      () => relaxed.create(by('ann'), id, content()),
      () => relaxed.change(by('ann'), id, content(`score >= 0.${random(9)}`), ANY),
      () => relaxed.bringLive(by('bob'), id, { version, to: 'active' }, ANY),
      () => relaxed.bringLive(by('bob'), id, { version, to: 'shadow' }, ANY),
      () => relaxed.pause(by('bob'), id, 'x', ANY),
      () => relaxed.remove(by('ann'), id, ANY),
      () => relaxed.pauseTripped(trip({ ruleId: id, ruleVersion: version, ruleSetVersion: random(12) })),
      () =>
        relaxed.changePatterns(
          by('ann'),
          { ...DEFAULT_PATTERN_PARAMETERS, velocityBurst: { minPayments: 2 + random(5), withinMs: 60_000 } },
          ANY,
        ),
      () => relaxed.activatePatterns(by('bob'), version, ANY),
    ];
    const before = store.kept;
    await Promise.resolve(operations[random(operations.length)]()).catch((error: { code?: string }) => {
      expect(error.code, `seed ${seed}, step ${step}: ${String(error)}`).toBeTypeOf('string');
    });
    const published = store.kept.published.at(-1);
    const patterns = await relaxed.patterns();
    const running = (await relaxed.rules(null, 100, null)).flatMap(({ entry, live }) =>
      live !== null && (entry.state === 'active' || entry.state === 'shadow')
        ? [{ ...live.rule, state: entry.state, liveSince: entry.liveSinceSet }]
        : [],
    );
    const place = `seed ${seed}, step ${step}`;
    expect(published, place).toEqual({
      version: store.kept.sets.length,
      rules: running,
      patterns: patterns.live.parameters,
    });
    // What tasks are given, they take.
    expect(parseRuleSet(JSON.parse(JSON.stringify(published))), place).toEqual(published);
    const isSame =
      JSON.stringify({ ...before.published.at(-1), version: 0 }) === JSON.stringify({ ...published, version: 0 });
    expect(store.kept.published.length - before.published.length, place).toBe(isSame ? 0 : 1);
  }
}
