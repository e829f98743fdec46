/** The proof must be able to fail: each kind of wrong outcome is seen and told. */
import { describe, expect, it } from 'vitest';
import { compare, type Expected, type Found } from '../../scripts/prove/compare.js';
import type { AlertOutcome, DeadLetterOutcome } from '../../scripts/prove/outcome.js';

const alert = (id: string, digest = `of ${id}`): AlertOutcome => {
  return { id, digest, summary: `review of ${id}`, rule: 'rule', decision: 'review', degraded: false };
};
const letter = (offset: number, value: string | null, code = 'null-value'): DeadLetterOutcome => {
  return { partition: 0, offset, code, key: Buffer.from('card'), value: value === null ? null : Buffer.from(value) };
};

const expected: Expected = {
  alerts: new Map(['a', 'b', 'c'].map((id) => [id, alert(id)])),
  deadLetters: [letter(3, 'broken'), letter(9, null)],
  cards: [new Map([['card-1', 'paymentCount=2 sum=10']]), new Map([['card-2', 'paymentCount=1 sum=7']])],
};
const right: Found = { ...expected, alerts: [...expected.alerts.values()] };

describe('comparing a run with the reference', () => {
  it('finds nothing where both agree, in whatever order', () => {
    const verdict = compare(expected, {
      ...right,
      alerts: [...right.alerts].reverse(),
      deadLetters: [...right.deadLetters].reverse(),
    });
    expect(verdict.differences).toEqual([]);
    expect(verdict).toMatchObject({ alerts: 3, distinctAlerts: 3, lost: 0, doubled: 0, foreign: 0, altered: 0 });
  });

  it('sees a lost alert, a doubled one, a foreign one and one with other content', () => {
    const alerts = [alert('a'), alert('a'), alert('b', 'something else'), alert('x')];
    const verdict = compare(expected, { ...right, alerts });
    expect(verdict).toMatchObject({ alerts: 4, distinctAlerts: 3, lost: 1, doubled: 1, foreign: 1, altered: 1 });
    expect(verdict.differences).toEqual([
      'doubled alert: a (review of a)',
      'altered alert: b is (review of b), the reference has (review of b)',
      'foreign alert: x (review of x)',
      'lost alert: c (review of c)',
    ]);
  });

  it('does not let a doubled alert make up for a lost one', () => {
    const verdict = compare(expected, { ...right, alerts: [alert('a'), alert('b'), alert('b')] });
    expect(verdict).toMatchObject({ alerts: 3, lost: 1, doubled: 1 });
  });

  it.each([
    ['lost', [letter(9, null)]],
    ['doubled', [letter(3, 'broken'), letter(9, null), letter(9, null)]],
    ['foreign', [letter(3, 'broken'), letter(9, null), letter(10, null)]],
    ['altered', [letter(3, 'broken!'), letter(9, null)]],
    ['altered', [letter(3, 'broken'), letter(9, '')]],
    ['altered', [letter(3, 'broken'), { ...letter(9, null), key: null }]],
    ['altered', [letter(3, 'broken', 'not-utf8'), letter(9, null)]],
  ] as const)('sees a dead letter that is %s', (sort, deadLetters) => {
    const verdict = compare(expected, { ...right, deadLetters });
    expect(verdict.deadLettersWrong).toBe(1);
    expect(verdict.differences[0]).toContain(`${sort} dead letter: partition 0`);
  });

  it('sees state that differs, is missing, or should not be there', () => {
    const cards = [new Map([['card-1', 'paymentCount=3 sum=10']]), new Map([['card-3', 'paymentCount=1']])];
    const verdict = compare(expected, { ...right, cards });
    expect(verdict.cardsWrong).toBe(3);
    expect(verdict.differences).toEqual([
      'state: card card-1 of partition 0: paymentCount=3, the reference has paymentCount=2',
      'state: card card-2 of partition 1 is not remembered',
      'state: card card-3 of partition 1 never paid',
    ]);
  });

  it('tells the first differences of each sort and counts the others', () => {
    const verdict = compare(expected, { ...right, alerts: Array.from({ length: 50 }, (_, i) => alert(`x${i}`)) });
    expect(verdict.foreign).toBe(50);
    expect(verdict.differences).toContain('foreign alert: 45 more');
    expect(verdict.differences.length).toBeLessThan(12);
  });
});
