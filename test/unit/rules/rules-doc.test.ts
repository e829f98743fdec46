/** What `docs/RULES.md` promises authors is what the language has. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CHANNELS, PAYMENT_STATUSES } from '../../../src/fraud/payments/payment.js';
import { checkCondition } from '../../../src/fraud/rules/check-condition.js';
import { ASSUMED_PARTS } from '../../../src/fraud/rules/cost.js';
import { CONDITION_LIMITS, FUNCTIONS, variablesOf } from '../../../src/fraud/rules/language.js';
import { RULE_BREAKER_DEFAULTS } from '../../../src/fraud/rules/rule-breakers.js';
import { parseRuleSet } from '../../../src/fraud/rules/rule-set.js';

const doc = readFileSync(new URL('../../../docs/RULES.md', import.meta.url), 'utf8');
const between = (from: string, to: string) => doc.slice(doc.indexOf(from), doc.indexOf(to, doc.indexOf(from) + 1));

describe('docs/RULES.md', () => {
  it('lists exactly the variables, with their types', () => {
    const rows = between('## Variables', '\nA rule on').split('\n').slice(3);
    const types = { text: 'string', number: 'double', 'yes or no': 'bool' } as const;
    const listed = rows.flatMap((row) => {
      const [, names = '', type = ''] = row.split('|').map((cell) => cell.trim());
      return [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => [name, types[type as keyof typeof types]]);
    });
    const known = variablesOf('payment')
      .filter(({ name }) => !name.startsWith('features.'))
      .map(({ name, type }) => [name, type]);
    expect(listed.filter(([name]) => name !== 'features.<name>').sort()).toEqual(known.sort());
    for (const value of [...CHANNELS, ...PAYMENT_STATUSES]) expect(doc).toContain(`\`${value}\``);
  });

  it('names every function, and every limit as it is', () => {
    for (const name of Object.keys(FUNCTIONS)) expect(doc).toContain(`\`${name}\``);
    const { maxLength, maxNodes, maxDepth, maxListItems, maxCost } = CONDITION_LIMITS;
    expect(doc).toContain(
      `Limits: ${maxLength} characters, ${maxNodes} parts, ${maxDepth} levels, ${maxListItems} items a list, and a **cost** of ${maxCost}`,
    );
    expect(doc).toContain(`A \`split\` counts as ${ASSUMED_PARTS} parts`);
    const { failures, share } = RULE_BREAKER_DEFAULTS;
    expect(doc).toContain(`${failures} failures within ${(failures / share).toLocaleString('en')} evaluations`);
  });

  it('gives examples that hold up, and problems as they are told', () => {
    const rule: unknown = JSON.parse(between('```json', '\n```').slice('```json'.length));
    expect(parseRuleSet({ version: 1, rules: [rule] }).rules).toHaveLength(1);
    const told = (condition: string) => {
      const [{ line, column, message, hint }] = checkCondition(condition, 'payment').problems;
      return `${line}:${column} ${message} (${hint})`;
    };
    for (const condition of ['payment.amount > 3', 'score >= 90', 'payment.country == "Germany"']) {
      expect(doc).toContain(told(condition));
    }
  });
});
