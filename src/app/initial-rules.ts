/**
 * Owns the rule set that the configuration gives: in force until the rules topic has one, and what an empty rule book
 * begins with. Neighbours: `fraud-parts.ts`, `analyst-side.ts`.
 */
import { readFile } from 'node:fs/promises';
import { builtInRuleSet } from '../fraud/rules/built-in-rules.js';
import type { RuleSet } from '../fraud/rules/rule.js';
import { parseRuleSet } from '../fraud/rules/rule-set.js';
import { StreamError } from '../stream/errors.js';
import type { Configuration } from './configuration/index.js';

/**
 * The file of `rules.file`, or the built-in rules; with the configured pattern parameters where the file has none.
 * Errors name the file: rule-set-invalid, rules-unreadable.
 */
export async function initialRules({ rules, patterns }: Pick<Configuration, 'rules' | 'patterns'>): Promise<RuleSet> {
  const { file } = rules;
  if (file === undefined) return { ...builtInRuleSet, patterns };
  try {
    const input: unknown = JSON.parse(await readFile(file, 'utf8'));
    return parseRuleSet(typeof input === 'object' && input !== null ? { patterns, ...input } : input);
  } catch (cause) {
    if (cause instanceof StreamError)
      throw new StreamError(cause.code, `rules file ${file}: ${cause.message}`, { cause });
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StreamError(
      'rules-unreadable',
      `the rules file ${file} cannot be read: ${reason}. Give a JSON file that this user may read, or none for the built-in rules.`,
      { cause },
    );
  }
}
