import { describe, expect, it } from 'vitest';
import { type Admission, BREAKER_DEFAULTS, CircuitBreaker } from '../../../src/fraud/enrichment/circuit-breaker.js';

const settings = { window: 10, minOutcomes: 4, failureShare: 0.5, consecutiveFailures: 100, openMs: 1_000, probes: 2 };

function admitted(breaker: CircuitBreaker, nowMs: number): Admission {
  const admission = breaker.admit(nowMs);
  if (admission === null) throw new Error('not admitted');
  return admission;
}

function opened(): CircuitBreaker {
  const breaker = new CircuitBreaker(settings);
  for (let i = 0; i < 3; i++) expect(breaker.failed(admitted(breaker, 0), 0)).toBe(false);
  expect(breaker.failed(admitted(breaker, 0), 0)).toBe(true);
  return breaker;
}

describe('the circuit breaker', () => {
  it('lets calls through while too few have failed to judge', () => {
    const breaker = new CircuitBreaker(settings);
    for (let i = 0; i < 3; i++) breaker.failed(admitted(breaker, 0), 0);
    expect(breaker.admit(0)).not.toBeNull();
  });

  it('opens at the share of failures and refuses until its time has passed', () => {
    const breaker = opened();
    expect([breaker.admit(999), breaker.wouldAdmit(999)]).toEqual([null, false]);
    expect(breaker.wouldAdmit(1_000)).toBe(true);
    expect(breaker.admit(1_000)).toEqual({ probe: true });
  });

  it('opens at so many failures in a row, however many calls succeeded before', () => {
    const breaker = new CircuitBreaker(BREAKER_DEFAULTS);
    for (let i = 0; i < 1_000; i++) breaker.succeeded(admitted(breaker, 0));
    for (let i = 0; i < 4; i++) expect(breaker.failed(admitted(breaker, 0), 0)).toBe(false);
    expect(breaker.failed(admitted(breaker, 0), 0)).toBe(true);
    expect([breaker.admit(4_999), breaker.admit(5_000)]).toEqual([null, { probe: true }]);
  });

  it('begins to count failures in a row anew at every success, and when it closes', () => {
    const breaker = new CircuitBreaker({ ...settings, minOutcomes: 100, window: 100, consecutiveFailures: 3 });
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 2; i++) expect(breaker.failed(admitted(breaker, 0), 0)).toBe(false);
      breaker.succeeded(admitted(breaker, 0));
    }
    for (let i = 0; i < 3; i++) breaker.failed(admitted(breaker, 0), 0);
    for (let i = 0; i < 2; i++) breaker.succeeded(admitted(breaker, 1_000));
    for (let i = 0; i < 2; i++) expect(breaker.failed(admitted(breaker, 1_000), 1_000)).toBe(false);
    expect(breaker.failed(admitted(breaker, 1_000), 1_000)).toBe(true);
  });

  it('forgets outcomes older than its window', () => {
    const breaker = new CircuitBreaker(settings);
    for (let i = 0; i < 6; i++) breaker.succeeded(admitted(breaker, 0));
    for (let i = 0; i < 4; i++) expect(breaker.failed(admitted(breaker, 0), 0)).toBe(false);
    // Four of ten so far; the fifth pushes a success out.
    expect(breaker.failed(admitted(breaker, 0), 0)).toBe(true);
  });

  it('sends so many probes and no more, and closes when all succeed', () => {
    const breaker = opened();
    const probes = [admitted(breaker, 1_000), admitted(breaker, 1_000)];
    expect(breaker.admit(5_000)).toBeNull();
    for (const probe of probes) breaker.succeeded(probe);
    expect(breaker.admit(5_000)).toEqual({ probe: false });
    // What was counted before is forgotten.
    expect(breaker.failed(admitted(breaker, 5_000), 5_000)).toBe(false);
  });

  it('opens again for its whole time when a probe fails', () => {
    const breaker = opened();
    const first = admitted(breaker, 1_000);
    const second = admitted(breaker, 1_000);
    expect(breaker.failed(first, 1_500)).toBe(true);
    breaker.succeeded(second);
    expect([breaker.admit(2_499), breaker.admit(2_500)]).toEqual([null, { probe: true }]);
  });

  it('does not listen to calls let through before it opened', () => {
    const breaker = new CircuitBreaker(settings);
    const old = admitted(breaker, 0);
    for (let i = 0; i < 4; i++) breaker.failed(admitted(breaker, 0), 0);
    admitted(breaker, 1_000);
    expect(breaker.failed(old, 1_000)).toBe(false);
    breaker.succeeded(old);
    breaker.succeeded(old);
    expect(admitted(breaker, 1_000).probe).toBe(true);
    expect(breaker.admit(1_000)).toBeNull();
  });
});
