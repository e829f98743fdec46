import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkCondition } from '../../../src/fraud/rules/check-condition.js';
import { CONDITION_LIMITS } from '../../../src/fraud/rules/language.js';
import type { RuleTrigger } from '../../../src/fraud/rules/rule.js';

const told = (condition: string, trigger: RuleTrigger = 'payment') =>
  checkCondition(condition, trigger).problems.map(
    ({ line, column, message, hint }) => `${line}:${column} ${message} (${hint})`,
  );

describe('a condition that can be used', () => {
  it.each([
    'payment.amountMinor >= 20000 && score > 0.5',
    'payment.amountMinor > 3 * features.decayedMean30dMinor',
    'payment.amountMinor % 1000 == 0 && payment.amountMinor in [1000, 2000]',
    'payment.country in ["DE", "FR"] || payment.country == ""',
    '!(merchant.riskKnown) && payment.channel != "pos" // the rest of the line is a comment',
    'payment.ip.startsWith("10.") && size(payment.deviceId) > 3',
    '["bet", "game"].exists(word, payment.merchantId.lowerAscii().contains(word))',
    'payment.late ? score >= 0.5 : score >= 0.9',
    'payment.latitude > 50 && payment.latitude < 51.5',
    'true',
  ])('has no problems: %s', (condition) => {
    expect(told(condition)).toEqual([]);
    expect(checkCondition(condition, 'payment').cost).toBeLessThanOrEqual(CONDITION_LIMITS.maxCost);
  });

  it('knows of a timer what exists then alone', () => {
    expect(told('patterns.cardTestingSmallCount >= 3', 'card-testing-expired')).toEqual([]);
    expect(told('score > 0.5', 'card-testing-expired')).toEqual([
      "1:1 'score' is not known here (use one of patterns.cardTestingSmallCount)",
    ]);
  });

  it('costs more the longer its loops are', () => {
    const cost = (condition: string) => checkCondition(condition, 'payment').cost;
    const short = cost('[1, 2].exists(x, score > x)');
    expect(cost('[1, 2, 3, 4].exists(x, score > x)')).toBeGreaterThan(short);
    expect(cost('[1, 2].exists(x, [1, 2].exists(y, score > x && score > y))')).toBeGreaterThan(2 * short);
    expect(cost('score > 0.5')).toBeLessThan(5);
  });
});

const FIELDS =
  'paymentId, cardId, merchantId, amountMinor, currency, occurredAt, country, mcc, channel, status, deviceId, ip, latitude, longitude, late';
const BRACKETS = 'look for a missing operator, bracket or quote before it';
const COMPARE = 'compare it with something, as score >= 0.5';

/** Every kind of problem once, as authors read it. */
const GOLDEN: readonly (readonly [condition: string, ...told: string[]])[] = [
  // Syntax.
  ['', '1:1 the condition is empty (write one, as score >= 0.9)'],
  ['score >', '1:8 the condition ends too early (something is missing at the end)'],
  ['score = 0.9', "1:7 '=' is not expected here (compare with ==)"],
  ['score >= 0.9 & payment.late', `1:14 '&' is not expected here (write && for "and")`],
  ['score >= 0.9 and payment.late', `1:14 'and' is not expected here (write && for "and")`],
  ['(score > 0.5', '1:13 the condition ends too early () is missing)'],
  ['score > 0.5)', `1:12 ')' is not expected here (${BRACKETS})`],
  ['score > 0.5 # high', `1:13 '#' is not expected here (${BRACKETS})`],
  [
    'payment.country == "DE',
    '1:20 the text in quotes does not end (close it with the quote that opened it, on the same line)',
  ],
  ['payment.country == “DE”', `1:20 '“' is not expected here (use plain quotes: ")`],
  [
    '"\\q" == payment.country',
    '1:2 invalid escape sequence: \\q (write a backslash in a text as \\\\, a quote as \\")',
  ],
  ['score > 1e999', "1:9 '1e999' is no number (write numbers as 20000, 0.9 or 1.5e3)"],
  ['if == 3', "1:1 'if' is a reserved word (put texts in quotes)"],
  ['score > 0.5\u0007', '1:12 a control character stands here (remove it)'],
  // Names.
  ['scor >= 0.9', "1:1 'scor' is not known here (did you mean score?)"],
  ['amountMinor > 3', "1:1 'amountMinor' is not known here (did you mean payment.amountMinor?)"],
  ['payment.amount > 3', "1:9 payment has no field 'amount' (did you mean payment.amountMinor?)"],
  [
    'payment.foo > 3 ||\n  merchant.rsk > 0.5',
    `1:9 payment has no field 'foo' (use one of ${FIELDS})`,
    "2:12 merchant has no field 'rsk' (did you mean merchant.risk?)",
  ],
  ['["DE", "FR"].exists(c, c == payment.cuntry)', "1:37 payment has no field 'cuntry' (did you mean payment.country?)"],
  // Functions and parts left out.
  ['payment.country.startswith("D")', "1:1 rules have no function 'startswith' (did you mean startsWith?)"],
  [
    'payment.ip.matches("a.*")',
    "1:1 rules have no function 'matches' (use startsWith, endsWith or contains: patterns can take any time)",
  ],
  [
    'has(payment.ip)',
    `1:1 rules have no function 'has' (every field is there: compare a text with "", a number that is not known compares with nothing)`,
  ],
  [
    '{"a": 1} == {"a": 1}',
    ...['1:1', '1:13'].map((at) => `${at} maps are not part of rules (use a list: ["DE", "FR"])`),
  ],
  ['payment["mcc"] == "5967"', '1:1 payment[…] is not part of rules (write payment. and the field)'],
  ['score > 1u', '1:9 bytes and unsigned numbers are not part of rules (leave out b or u)'],
  ['["DE"].exists(3, true)', `1:15 '3' is no name for an item (write a plain name first: list.exists(x, x == "DE"))`],
  // Types.
  ['score', `1:1 the condition must be yes or no, this is a number (${COMPARE})`],
  ['payment', `1:1 the condition must be yes or no, this is all of payment (${COMPARE})`],
  ['payment.late || score', `1:17 both sides of || must be yes or no, this is a number (${COMPARE})`],
  ['!score', `1:1 ! cannot be put before a number (${COMPARE})`],
  [
    'payment.mcc == 5967',
    '1:1 == does not fit between a text and a whole number (put texts in quotes ("5967"), numbers not)',
  ],
  [
    'payment.late == 1',
    '1:1 == does not fit between yes or no and a whole number (compare yes or no with true or false)',
  ],
  [
    'payment.country in "DE"',
    '1:1 in does not fit between a text and a text (write a list on the right: payment.country in ["DE", "FR"]; for texts use contains)',
  ],
  [
    'payment.country == null',
    '1:1 == does not fit between a text and null (a text that is not known is "", a number that is not known compares with nothing)',
  ],
  ['payment.ip.startsWith(10)', '1:1 startsWith does not take a text, a whole number (write text.startsWith(text))'],
  [
    'score in [0.5, 1]',
    "1:16 '1' is a whole number, the items before it are not (give all items one type; write 1.0 for 1 among numbers with a point)",
  ],
  [
    'payment.late ? score > 0.5 : 3',
    '1:30 one side of : is yes or no, the other a whole number (give both sides one type; write 1.0 for 1)',
  ],
  ['score ? true : false', `1:1 what decides here must be yes or no, not a number (${COMPARE})`],
  ['score.exists(x, x > 3)', '1:1 a number has no items to go through (use a list)'],
  ['payment.ip.split(".")["a"] == ""', '1:1 items of a list are numbered (write the place as a whole number: list[0])'],
  ['score[0] == 3', '1:1 this has no items or fields (use list[0] on lists alone)'],
  // Units and forms.
  ['score >= 90', '1:10 score lies between 0 and 1, never at 90 (write 0.9 for 90 %)'],
  ['payment.country == "Germany"', '1:20 payment.country is never "Germany" (it is two capitals, as "DE")'],
  [
    'payment.channel in ["pos", "web"]',
    '1:28 payment.channel is never "web" (it is one of pos, ecom, atm, moto, other)',
  ],
];

describe('an author is told of a condition', () => {
  it.each(GOLDEN)('%j', (condition, ...problems) => {
    expect(told(condition)).toEqual(problems);
  });

  it('that is too long, too large, too deep, or lists too much', () => {
    const [long] = told(`score > 0.5 // ${'x'.repeat(CONDITION_LIMITS.maxLength)}`);
    expect(long).toContain('characters, the limit is 4096 (split it into several rules)');
    const short = '(score>0.5)';
    const [large] = told(Array.from({ length: 250 }, () => short).join('||'));
    expect(large).toMatch(/^1:\d+ the condition has over 500 parts/);
    expect(told(`${'('.repeat(60)}true${')'.repeat(60)}`)[0]).toContain('nested deeper than 40 levels');
    expect(told(`payment.mcc in [${'"5967",'.repeat(201)}]`)[0]).toContain('the list has over 200 items');
  });

  it.each([
    // Doubles the text sixteen times: it is the memory that the budget bounds here.
    `["a"]${'.map(x, x + x)'.repeat(16)} == ["a"]`,
    'payment.merchantId.split("-").exists(a, payment.ip.split(".").exists(b, payment.cardId.split("-").exists(c, a == b && b == c)))',
    `[${'1,'.repeat(100)}].exists(x, [${'1,'.repeat(100)}].exists(y, x == y))`,
  ])('whose evaluation could take too many steps: %#', (condition) => {
    expect(told(condition)[0]).toMatch(/^1:1 one evaluation can take \d+ steps, the limit is 2000/);
  });

  it('whatever the text, without an exception', () => {
    const pieces = fc.constantFrom(
      ...'payment. score merchant .risk .exists( map(x, [ ] ( ) { } " \' && || ! - + == in 0.5 1e9 7u b"x" ?: , . \\ \n true null'.split(
        ' ',
      ),
    );
    const text = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.array(pieces, { maxLength: 25 }).map((list) => list.join(' ')),
    );
    fc.assert(
      fc.property(text, (condition) => {
        for (const { line, column, message, hint } of checkCondition(condition, 'payment').problems) {
          expect([line, column].every((place) => Number(place) >= 1)).toBe(true);
          expect(message.length * hint.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 3_000 },
    );
    expect(told('!'.repeat(4_000)).length).toBe(1);
  });
});
