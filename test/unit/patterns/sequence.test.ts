import { describe, expect, it } from 'vitest';
import { type FirstStageHistory, SEQUENCE_STEP, SequenceMatcher } from '../../../src/stream/pattern/sequence.js';
import { TimerColumn } from '../../../src/stream/state/layout.js';

/** Letters as elements: the stages are a, b, c …; times are in ms. */
function letters(needed: readonly number[], withinMs = 100) {
  const run = {
    stage: new Uint8Array(1),
    count: new Uint8Array(1),
    startedAt: new Float64Array(1),
    expires: new TimerColumn(1),
  };
  const seen: number[] = [];
  const history: FirstStageHistory = {
    count: 0,
    firstAtMs: 0,
    read(_slot, from, to) {
      const found = seen.filter((t) => t >= from && t <= to);
      this.count = found.length;
      this.firstAtMs = found.length === 0 ? 0 : Math.min(...found);
    },
  };
  const stages = needed.map((atLeast, i) => {
    const letter = String.fromCharCode(97 + i);
    return { name: letter, atLeast, matches: (element: string) => element === letter };
  });
  const matcher = new SequenceMatcher<string>(stages, withinMs, run, history);
  const show = (element: string, timeMs: number) => {
    const step = matcher.advance(element, 0, 0, timeMs);
    if (element === 'a') seen.push(timeMs);
    return step;
  };
  return { run, matcher, show };
}

describe('a sequence', () => {
  it('completes over three stages with repetitions and strangers between', () => {
    const { show, run } = letters([2, 2, 1]);
    const steps = ['a', 'b', 'a', 'x', 'b', 'a', 'b', 'c'].map((element, i) => show(element, i + 1));
    const { passed, matched, completed } = SEQUENCE_STEP;
    expect(steps).toEqual([matched, passed, matched, passed, matched, passed, matched, completed]);
    expect([run.stage[0], run.count[0], run.startedAt[0], run.expires.due[0]]).toEqual([0, 0, 0, 0]);
  });

  it('falls back to the first stage when its time is over', () => {
    const { show, run } = letters([1, 1, 1]);
    show('a', 1);
    show('a', 50);
    show('b', 60);
    expect(show('c', 102)).toBe(SEQUENCE_STEP.passed);
    expect([run.stage[0], run.startedAt[0]]).toEqual([0, 50]);
    expect(show('b', 110)).toBe(SEQUENCE_STEP.matched);
    expect(show('c', 120)).toBe(SEQUENCE_STEP.completed);
  });

  it('passes over a first element too far before the run', () => {
    const { show, run } = letters([1, 1]);
    show('a', 500);
    expect(show('a', 399)).toBe(SEQUENCE_STEP.passed);
    expect(run.startedAt[0]).toBe(500);
  });

  it('sets its timer at the first match and leaves it while it is pending', () => {
    const { show, run } = letters([3, 1]);
    show('a', 10);
    show('a', 20);
    expect(run.expires.due[0]).toBe(110);
    show('a', 150);
    expect(run.expires.due[0]).toBe(110);
  });

  it('goes on after its timer with what came later', () => {
    const { show, run, matcher } = letters([3, 1]);
    show('a', 10);
    show('a', 20);
    run.expires.clear(0);
    expect(matcher.expire(0, 110, 99)).toBe(2);
    expect([run.count[0], run.startedAt[0], run.expires.due[0]]).toEqual([1, 20, 120]);
    run.expires.clear(0);
    expect(matcher.expire(0, 120, 99)).toBe(1);
    expect([run.count[0], run.startedAt[0], run.expires.due[0]]).toEqual([0, 0, 0]);
  });

  it('saturates its count', () => {
    const { show, run } = letters([255, 1], 10_000);
    for (let i = 1; i <= 300; i++) show('a', i);
    expect(run.count[0]).toBe(255);
    expect(show('b', 301)).toBe(SEQUENCE_STEP.completed);
  });

  it('refuses a declaration that can’t be kept', () => {
    expect(() => letters([1])).toThrow(/at least 2 stages/);
    expect(() => letters([0, 1])).toThrow(/stage a needs 0/);
    expect(() => letters([1, 1], 0)).toThrow(/above 0 ms/);
  });
});
