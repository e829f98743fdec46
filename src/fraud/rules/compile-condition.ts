/**
 * Owns the way from a condition's text to what runs: the conjuncts that compare become loops over the batch; what is
 * more than that stays CEL and runs row by row, on the rows that the loops left. Neighbours: `condition.ts` and
 * `text-loops.ts` have the loops, `row-test.ts` runs the rest, `check-condition.ts` has checked the text.
 *
 * C1 All ways say the same of every payment: as in CEL, a false conjunct decides, whatever another one fails of, and
 *    CEL alone can fail (`test/unit/rules/same-meaning.test.ts`).
 */
import type { ASTNode } from '@marcbachmann/cel-js';
import { ARITHMETIC, type Arithmetic, type Calculation } from './calculation.js';
import { COMPARISONS, type Comparison, type Condition, type Select, type SourceText, selectBy } from './condition.js';
import { parseCel, typeOf } from './language.js';
import { RowTest } from './row-test.js';
import type { RuleTrigger } from './rule.js';
import { TEXT_TESTS } from './text-loops.js';
import { childrenOf, partsOf, variableName } from './tree.js';
import type { Variable, Variables } from './variables.js';

export interface CompiledCondition {
  /** For reasons. */
  readonly tree: Condition;
  /** Selects the rows at which the conjuncts that are loops hold. */
  readonly select: Select;
  /** The other conjuncts; null where there are none. */
  readonly rest: RowTest | null;
  /** All of it, as CEL: for values that lie in no batch. Made when first asked for. */
  whole(): RowTest;
}

/** Compiles a condition that `checkCondition` found nothing wrong with. */
export function compileCondition(text: string, trigger: RuleTrigger, variables: Variables): CompiledCondition {
  const parsed = parseCel(text, trigger);
  const { valid, error } = parsed.check();
  if (!valid) throw new TypeError(`the condition was not checked: ${error?.message ?? text}`);
  const parts = partsOf(parsed.ast, '&&').map((node): { readonly node: ASTNode; readonly tree: Condition } => ({
    node,
    tree: asTree(node, variables) ?? { kind: 'written', source: sourceOf(node, variables) },
  }));
  const trees = parts.map(({ tree }) => tree);
  const loops = trees.filter(({ kind }) => kind !== 'written');
  const written = parts.flatMap(({ node, tree }) => (tree.kind === 'written' ? [node] : []));
  let whole: RowTest | null = null;
  return {
    tree: trees.length === 1 ? trees[0] : { kind: 'all', parts: trees },
    select: selectBy({ kind: 'all', parts: loops }),
    rest: written.length === 0 ? null : new RowTest(parsed, trigger, written),
    whole: () => {
      whole ??= new RowTest(parseCel(text, trigger), trigger, null);
      return whole;
    },
  };
}

/** The node as a tree that cannot fail, or null where it is more than that. */
function asTree(node: ASTNode, variables: Variables): Condition | null {
  switch (node.op) {
    case 'value':
      return typeof node.args === 'boolean' ? { kind: 'constant', value: node.args } : null;
    case 'id':
    case '.': {
      const variable = variables.get(variableName(node) ?? '');
      if (variable?.type !== 'bool' || variable.place === null) return null;
      return { kind: 'flag', variable, place: variable.place };
    }
    case '!_': {
      const part = asTree(node.args, variables);
      return part === null ? null : { kind: 'not', part };
    }
    case '&&':
    case '||': {
      const parts = partsOf(node, node.op).map((part) => asTree(part, variables));
      const all = parts.filter((part) => part !== null);
      return all.length < parts.length ? null : { kind: node.op === '&&' ? 'all' : 'any', parts: all };
    }
    case 'rcall':
      return textMethod(node.args[0], node.args[1], node.args[2], variables);
    case 'in':
      return membership(node.args[0], node.args[1], variables);
    default:
      return isComparison(node.op) ? comparison(node, node.op, variables) : null;
  }
}

const isComparison = (op: string): op is Comparison => (COMPARISONS as readonly string[]).includes(op);
const isArithmetic = (op: string): op is Arithmetic => (ARITHMETIC as readonly string[]).includes(op);

const MIRRORED: Readonly<Record<Comparison, Comparison>> = {
  '>=': '<=',
  '>': '<',
  '<=': '>=',
  '<': '>',
  '==': '==',
  '!=': '!=',
};

function comparison(node: ASTNode, op: Comparison, variables: Variables): Condition | null {
  const [left, right] = childrenOf(node);
  switch (typeOf(left)) {
    case 'bool':
      return flagComparison(left, op, right, variables);
    case 'string':
      return textComparison(left, op, right, variables);
    case 'double':
    case 'int':
      return numberComparison(node, op, variables);
    default:
      return null;
  }
}

/** `payment.late == true` and the like; an order of flags is left to CEL. */
function flagComparison(left: ASTNode, op: Comparison, right: ASTNode, variables: Variables): Condition | null {
  if (op !== '==' && op !== '!=') return null;
  const [flag, literal] = right.op === 'value' ? [left, right] : [right, left];
  if (literal.op !== 'value') return null;
  const part = asTree(flag, variables);
  if (part === null) return null;
  return (op === '==') === literal.args ? part : { kind: 'not', part };
}

function textComparison(left: ASTNode, op: Comparison, right: ASTNode, variables: Variables): Condition | null {
  if (op !== '==' && op !== '!=') return null;
  const [named, literal] = right.op === 'value' ? [left, right] : [right, left];
  const part = textAmong(named, [literal], variables);
  return part === null || op === '==' ? part : { kind: 'not', part };
}

function membership(wanted: ASTNode, list: ASTNode, variables: Variables): Condition | null {
  if (list.op !== 'list') return null;
  if (list.args.length === 0) return null;
  if (typeOf(wanted) === 'string') return textAmong(wanted, list.args, variables);
  const variable = numberVariable(wanted, variables);
  if (variable === null) return null;
  const values = list.args.map((item) => constantOf(item));
  const parts = values.flatMap((value): Condition[] =>
    value === null ? [] : [{ kind: 'compare', ...variable, op: '==', value }],
  );
  return parts.length < values.length ? null : { kind: 'any', parts };
}

function textAmong(named: ASTNode, literals: readonly ASTNode[], variables: Variables): Condition | null {
  const variable = variables.get(variableName(named) ?? '');
  const values = literals.map(textOf).filter((text) => text !== null);
  if (!variable?.text || values.length < literals.length) return null;
  return { kind: 'text', variable, place: variable.text, test: 'among', values };
}

/** `payment.ip.startsWith("10.")` and its like. */
function textMethod(
  method: string,
  receiver: ASTNode,
  args: readonly ASTNode[],
  variables: Variables,
): Condition | null {
  const variable = variables.get(variableName(receiver) ?? '');
  const test = TEXT_TESTS.find((name) => name === method);
  const value = args.length === 1 ? textOf(args[0]) : null;
  if (!variable?.text || test === undefined || value === null) return null;
  return { kind: 'text', variable, place: variable.text, test, values: [value] };
}

const textOf = (node: ASTNode) => (node.op === 'value' && typeof node.args === 'string' ? node.args : null);

function numberComparison(node: ASTNode, op: Comparison, variables: Variables): Condition | null {
  const [leftNode, rightNode] = childrenOf(node);
  const left = calculation(leftNode, variables);
  const right = calculation(rightNode, variables);
  if (left === null || right === null) return null;
  const named = numberVariable(leftNode, variables) ?? numberVariable(rightNode, variables);
  if (named !== null && right.kind === 'constant') return { kind: 'compare', ...named, op, value: right.value };
  if (named !== null && left.kind === 'constant') {
    return { kind: 'compare', ...named, op: MIRRORED[op], value: left.value };
  }
  return { kind: 'calculated', left, op, right, source: sourceOf(node, variables) };
}

function numberVariable(node: ASTNode, variables: Variables) {
  const variable = variables.get(variableName(node) ?? '');
  if (variable?.type !== 'double' || variable.place === null) return null;
  return { variable, place: variable.place };
}

/** A number over columns, or null. Whole numbers alone among themselves are CEL's: they can overflow. */
function calculation(node: ASTNode, variables: Variables): Calculation | null {
  const value = constantOf(node);
  if (value !== null) return { kind: 'constant', value };
  const named = numberVariable(node, variables);
  if (named !== null) return { kind: 'column', ...named };
  if (typeOf(node) !== 'double') return null;
  if (node.op === '-_') {
    const part = calculation(node.args, variables);
    return part === null ? null : { kind: 'negated', part };
  }
  if (!isArithmetic(node.op)) return null;
  const [left, right] = childrenOf(node).map((child) => calculation(child, variables));
  if (left === null || right === null) return null;
  return { kind: 'arithmetic', op: node.op, left, right, scratch: { values: new Float64Array(0) } };
}

/** A number literal, with a minus or without. Whole numbers beyond 2^53 are compared exactly, and so by CEL alone. */
function constantOf(node: ASTNode): number | null {
  if (node.op === '-_') {
    const inner = constantOf(node.args);
    return inner === null ? null : -inner;
  }
  if (node.op !== 'value') return null;
  if (typeof node.args === 'number') return node.args;
  if (typeof node.args !== 'bigint') return null;
  const value = Number(node.args);
  return Number.isSafeInteger(value) ? value : null;
}

function sourceOf(node: ASTNode, variables: Variables): SourceText {
  return { text: writtenAs(node), variables: [...variablesIn(node, variables)] };
}

/** As the author wrote it, on one line; with the brackets at both ends, which a node's own place leaves out. */
function writtenAs({ input, start, end }: ASTNode): string {
  const { opening, closing } = missingBrackets(input.slice(start, end));
  let from = start;
  for (let i = 0; i < opening; i++) from = Math.max(0, input.lastIndexOf('(', from - 1));
  let to = end;
  for (let i = 0; i < closing; i++) to = input.indexOf(')', to) + 1 || input.length;
  return input.slice(from, to).replaceAll(/\s+/g, ' ').trim();
}

/** How many brackets would have to stand before and after it. Those in quotes do not count. */
function missingBrackets(part: string): { readonly opening: number; readonly closing: number } {
  const bare = part.replaceAll(/"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/g, '');
  let depth = 0;
  let lowest = 0;
  for (const character of bare) {
    if (character === '(') depth++;
    if (character === ')') depth--;
    lowest = Math.min(lowest, depth);
  }
  return { opening: -lowest, closing: depth - lowest };
}

function* variablesIn(node: ASTNode, variables: Variables): Iterable<Variable> {
  const seen = new Set<Variable>();
  const nodes = [node];
  for (let next = nodes.pop(); next !== undefined; next = nodes.pop()) {
    const variable = variables.get(variableName(next) ?? '');
    if (variable !== undefined && !seen.has(variable)) {
      seen.add(variable);
      yield variable;
    }
    nodes.push(...childrenOf(next).toReversed());
  }
}
