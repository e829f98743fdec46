/**
 * Owns the checks of a condition's text: its size, that it parses, that its names and functions exist, that types and
 * units fit, and what one evaluation can cost. Every problem has its line and column and says what to do. Neighbours:
 * `condition-words.ts` words syntax and types, `check-rule.ts` checks the rest of a rule.
 */
import type { ASTNode } from '@marcbachmann/cel-js';
import { type Finding, findingOf, quoted, typeInWords } from './condition-words.js';
import { ASSUMED_PARTS, costOf } from './cost.js';
import { CONDITION_LIMITS, FUNCTIONS, LOOPS, parseCel, typeOf, variablesOf } from './language.js';
import { nearestName } from './near-names.js';
import { RULE_TRIGGERS, type RuleTrigger } from './rule.js';
import type { RuleProblem } from './rule-problems.js';
import { childrenOf, variableName } from './tree.js';
import type { Variable } from './variables.js';

export interface CheckedCondition {
  /** In the order of the text; empty where the condition can be used. */
  readonly problems: readonly RuleProblem[];
  /** An upper bound of the steps of one evaluation; 0 where it cannot be told. */
  readonly cost: number;
}

/** Checks a condition for rules of this trigger. Never throws, whatever the text. */
export function checkCondition(text: string, trigger: RuleTrigger): CheckedCondition {
  const { findings, cost } = look(text, trigger);
  const problems = findings.toSorted((a, b) => a.at - b.at).map((finding) => problemAt(text, finding));
  return { problems, cost };
}

interface Looked {
  readonly findings: readonly Finding[];
  readonly cost: number;
}

const only = (finding: Finding): Looked => ({ findings: [finding], cost: 0 });

function look(text: string, trigger: RuleTrigger): Looked {
  const unreadable = textFinding(text);
  if (unreadable !== null) return only(unreadable);
  try {
    const parsed = parseCel(text, trigger);
    const names = nameFindings(parsed.ast, trigger);
    if (names.length > 0) return { findings: names, cost: 0 };
    const { valid, error } = parsed.check();
    if (!valid) return only(findingOf(error, text));
    return lookAtMeaning(parsed.ast, trigger);
  } catch (error) {
    return only(findingOf(error, text));
  }
}

function lookAtMeaning(root: ASTNode, trigger: RuleTrigger): Looked {
  const type = typeOf(root);
  if (type !== 'bool') {
    const message = `the condition must be yes or no, this is ${typeInWords(type)}`;
    return only({ at: root.start, message, hint: 'compare it with something, as score >= 0.5' });
  }
  const cost = costOf(root);
  const findings = valueFindings(root, variableMap(trigger));
  if (cost > CONDITION_LIMITS.maxCost) {
    const message = `one evaluation can take ${cost} steps, the limit is ${CONDITION_LIMITS.maxCost}`;
    const hint = `shorten the lists that loops go through (a split counts as ${ASSUMED_PARTS} parts), or split the rule`;
    return { findings: [...findings, { at: root.start, message, hint }], cost };
  }
  return { findings, cost };
}

function textFinding(text: string): Finding | null {
  if (text.trim() === '') return { at: 0, message: 'the condition is empty', hint: 'write one, as score >= 0.9' };
  if (text.length > CONDITION_LIMITS.maxLength) {
    const message = `the condition has ${text.length} characters, the limit is ${CONDITION_LIMITS.maxLength}`;
    return { at: 0, message, hint: 'split it into several rules' };
  }
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    const isAllowed = unit >= 0x20 ? unit !== 0x7f : unit === 0x0a || unit === 0x0d || unit === 0x09;
    if (!isAllowed) return { at, message: 'a control character stands here', hint: 'remove it' };
  }
  if (!text.isWellFormed()) return { at: 0, message: 'holds half a surrogate pair', hint: 'write the text anew' };
  return null;
}

/** Unknown names, and parts of CEL that rules leave out: all of them at once. */
function nameFindings(root: ASTNode, trigger: RuleTrigger): readonly Finding[] {
  const findings: Finding[] = [];
  walkNames(root, new Set(), variableMap(trigger), findings);
  return findings;
}

type VariableMap = ReadonlyMap<string, Variable>;

const VARIABLE_MAPS = new Map(
  RULE_TRIGGERS.map((trigger): [RuleTrigger, VariableMap] => [
    trigger,
    new Map(variablesOf(trigger).map((variable) => [variable.name, variable])),
  ]),
);

function variableMap(trigger: RuleTrigger): VariableMap {
  return VARIABLE_MAPS.get(trigger) ?? new Map();
}

function walkNames(node: ASTNode, items: ReadonlySet<string>, variables: VariableMap, findings: Finding[]): void {
  const name = variableName(node);
  if (name !== null && !items.has(name.split('.')[0])) {
    const finding = unknownName(node, name, variables);
    if (finding !== null) findings.push(finding);
    return;
  }
  const leftOut = partLeftOut(node);
  if (leftOut !== null) findings.push(leftOut);
  if (node.op === 'rcall' && LOOPS.has(node.args[0])) {
    const [, list, [item, ...bodies]] = node.args;
    walkNames(list, items, variables, findings);
    const inner = item?.op === 'id' ? new Set([...items, item.args]) : items;
    for (const body of bodies) walkNames(body, inner, variables, findings);
    return;
  }
  for (const child of childrenOf(node)) walkNames(child, items, variables, findings);
}

function unknownName(node: ASTNode, name: string, variables: VariableMap): Finding | null {
  if (variables.has(name)) return null;
  const [group, field] = name.split('.');
  const fields = [...variables.keys()].flatMap((known) => (known.startsWith(`${group}.`) ? [known] : []));
  if (field === undefined && fields.length > 0) return null; // of the whole group the type check tells
  if (fields.length > 0) {
    const hint = nearestName(
      field,
      fields.map((known) => known.slice(group.length + 1)),
    ).replace('did you mean ', `did you mean ${group}.`);
    return { at: node.pos, message: `${group} has no field ${quoted(field)}`, hint };
  }
  const last = field ?? name;
  const byField = [...variables.keys()].find((known) => known.endsWith(`.${last}`));
  const hint = byField === undefined ? nearestName(name, [...variables.keys()]) : `did you mean ${byField}?`;
  return { at: node.start, message: `${quoted(name)} is not known here`, hint };
}

function partLeftOut(node: ASTNode): Finding | null {
  switch (node.op) {
    case 'map':
      return { at: node.start, message: 'maps are not part of rules', hint: 'use a list: ["DE", "FR"]' };
    case '[]':
      return groupIndexed(node.args[0]);
    case '.?':
    case '[?]':
      return { at: node.start, message: `${node.op} is not part of rules`, hint: 'a text that is not known is ""' };
    case 'value':
      if (typeof node.args === 'object' && node.args !== null) {
        return {
          at: node.start,
          message: 'bytes and unsigned numbers are not part of rules',
          hint: 'leave out b or u',
        };
      }
      return null;
    case 'call':
    case 'rcall':
      return functionLeftOut(node, node.args[0]);
    default:
      return null;
  }
}

function groupIndexed(node: ASTNode): Finding | null {
  if (node.op !== 'id' || !GROUPS.has(node.args)) return null;
  return { at: node.start, message: `${node.args}[…] is not part of rules`, hint: `write ${node.args}. and the field` };
}

const INSTEAD: Readonly<Record<string, string>> = {
  matches: 'use startsWith, endsWith or contains: patterns can take any time',
  has: 'every field is there: compare a text with "", a number that is not known compares with nothing',
};

function functionLeftOut(node: ASTNode, name: string): Finding | null {
  if (Object.hasOwn(FUNCTIONS, name)) return null;
  const hint = Object.hasOwn(INSTEAD, name) ? INSTEAD[name] : nearestName(name, Object.keys(FUNCTIONS));
  return { at: node.start, message: `rules have no function ${quoted(name)}`, hint };
}

const GROUPS = new Set(variablesOf('payment').flatMap(({ name }) => (name.includes('.') ? [name.split('.')[0]] : [])));

const COMPARISONS = new Set(['==', '!=', '<', '<=', '>', '>=', 'in']);

/** Comparisons with values that the variable never has: percents for shares, names of countries for their codes. */
function valueFindings(node: ASTNode, variables: VariableMap): readonly Finding[] {
  const below = childrenOf(node).flatMap((child) => valueFindings(child, variables));
  if (!COMPARISONS.has(node.op)) return below;
  const [left, right] = childrenOf(node);
  return [...below, ...misfits(left, right, variables), ...misfits(right, left, variables)];
}

function misfits(named: ASTNode, other: ASTNode, variables: VariableMap): readonly Finding[] {
  const variable = variables.get(variableName(named) ?? '');
  if (variable === undefined) return [];
  const values = other.op === 'list' ? other.args : [other];
  return values.flatMap((value) => {
    const finding = value.op === 'value' ? misfit(variable, value.args, value.start) : null;
    return finding === null ? [] : [finding];
  });
}

function misfit({ name, unit, form }: Variable, value: unknown, at: number): Finding | null {
  if (unit === 'share' && (typeof value === 'number' || typeof value === 'bigint') && (value < 0 || value > 1)) {
    return { at, message: `${name} lies between 0 and 1, never at ${value}`, hint: 'write 0.9 for 90 %' };
  }
  if (form !== null && typeof value === 'string' && value !== '' && !form.pattern.test(value)) {
    return { at, message: `${name} is never ${JSON.stringify(value)}`, hint: `it is ${form.words}` };
  }
  return null;
}

function problemAt(text: string, { at, message, hint }: Finding): RuleProblem {
  const before = text.slice(0, at);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { path: 'condition', line: before.split('\n').length, column: at - lineStart + 1, message, hint };
}
