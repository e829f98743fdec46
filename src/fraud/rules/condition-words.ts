/**
 * Owns what authors are told of conditions that do not parse or whose types do not fit: the library's errors in plain
 * words, with a hint. Neighbours: `check-condition.ts` finds names, functions, units and sizes itself.
 */
import { type ASTNode, TypeError as CelTypeError, ParseError } from '@marcbachmann/cel-js';
import { CONDITION_LIMITS, FUNCTIONS, typeOf } from './language.js';
import { childrenOf } from './tree.js';

/** A problem at a place of the text, in UTF-16 units from 0 on. */
export interface Finding {
  readonly at: number;
  readonly message: string;
  readonly hint: string;
}

/** The library's error as a finding. What is not one of its errors is a defect and thrown on. */
export function findingOf(error: unknown, text: string): Finding {
  if (error instanceof ParseError) return parseFinding(error, text);
  if (error instanceof CelTypeError) return typeFinding(error, text);
  throw error;
}

const TOKENS: Readonly<Record<string, string>> = {
  RPAREN: ')',
  RBRACKET: ']',
  RBRACE: '}',
  COLON: ':',
  IDENTIFIER: 'a name',
};

const INSTEAD: Readonly<Record<string, string>> = {
  '=': 'compare with ==',
  '&': 'write && for "and"',
  '|': 'write || for "or"',
  and: 'write && for "and"',
  AND: 'write && for "and"',
  or: 'write || for "or"',
  OR: 'write || for "or"',
  not: 'write ! for "not"',
  '“': 'use plain quotes: "',
  '”': 'use plain quotes: "',
  '’': "use plain quotes: '",
  '{': 'maps are not part of rules',
};

const LIMIT_WORDS: Readonly<Record<string, string>> = {
  maxAstNodes: `the condition has over ${CONDITION_LIMITS.maxNodes} parts`,
  maxDepth: `the condition is nested deeper than ${CONDITION_LIMITS.maxDepth} levels`,
  maxListElements: `the list has over ${CONDITION_LIMITS.maxListItems} items`,
  maxCallArguments: 'the call has over 3 arguments',
};

function parseFinding(error: ParseError, text: string): Finding {
  const at = Math.min(error.range?.start ?? 0, text.length);
  const found = text.slice(at, error.range?.end ?? at + 1);
  const where = found === '' ? 'the condition ends too early' : `${quoted(found)} is not expected here`;
  const finding = (message: string, hint: string): Finding => ({ at, message, hint });
  switch (error.code) {
    case 'limit_exceeded': {
      const limit = Object.keys(LIMIT_WORDS).find((name) => error.summary.includes(name)) ?? '';
      return finding(LIMIT_WORDS[limit] ?? error.summary, 'split it into several rules, or write it shorter');
    }
    case 'expected_token': {
      const wanted = TOKENS[/Expected (\w+)/.exec(error.summary)?.[1] ?? ''] ?? '';
      return finding(where, INSTEAD[found] ?? (wanted === '' ? BRACKETS : `${wanted} is missing`));
    }
    case 'unexpected_character':
    case 'unexpected_token':
      return finding(where, INSTEAD[found] ?? (found === '' ? 'something is missing at the end' : BRACKETS));
    case 'unterminated_string':
    case 'unterminated_triple_quoted_string':
    case 'newline_in_string':
      return finding('the text in quotes does not end', 'close it with the quote that opened it, on the same line');
    case 'reserved_identifier':
      return finding(`${quoted(found)} is a reserved word`, 'put texts in quotes');
    case 'invalid_macro_argument':
      return finding(`${quoted(found)} is no name for an item`, 'write a plain name first: list.exists(x, x == "DE")');
    case 'invalid_number':
    case 'invalid_integer':
    case 'invalid_hex_integer':
    case 'invalid_exponent':
      return finding(`${quoted(found)} is no number`, 'write numbers as 20000, 0.9 or 1.5e3');
    default:
      return finding(lowerFirst(error.summary), 'write a backslash in a text as \\\\, a quote as \\"');
  }
}

const BRACKETS = 'look for a missing operator, bracket or quote before it';

function typeFinding(error: CelTypeError, text: string): Finding {
  const { node } = error;
  const range = error.range;
  const at = range?.start ?? 0;
  const isNode = node?.op !== undefined;
  const whole: Finding = { at, message: lowerFirst(error.summary), hint: 'look at the types in docs/RULES.md' };
  if (!isNode) return whole;
  const tree = node as ASTNode;
  switch (error.code) {
    case 'no_such_overload':
      return operatorFinding(tree, whole);
    case 'invalid_logical_operand':
      return operandFinding(tree, whole);
    case 'no_matching_overload':
      return callFinding(tree, whole);
    case 'invalid_condition_type':
      return {
        ...whole,
        message: `what decides here must be yes or no, not ${typeInWords(typeOf(tree))}`,
        hint: COMPARE,
      };
    case 'heterogeneous_list_element':
      return {
        ...whole,
        message: `${quoted(text.slice(tree.start, tree.end))} is ${typeInWords(typeOf(tree))}, the items before it are not`,
        hint: 'give all items one type; write 1.0 for 1 among numbers with a point',
      };
    case 'incompatible_ternary_branches': {
      const [, left, right] = childrenOf(tree);
      const message = `one side of : is ${typeInWords(typeOf(left))}, the other ${typeInWords(typeOf(right))}`;
      return { at: right.start, message, hint: 'give both sides one type; write 1.0 for 1' };
    }
    case 'invalid_comprehension_range':
      return { ...whole, message: `${typeInWords(typeOf(tree))} has no items to go through`, hint: 'use a list' };
    case 'invalid_index_type':
      return { ...whole, message: 'items of a list are numbered', hint: 'write the place as a whole number: list[0]' };
    case 'cannot_index_type':
      return { ...whole, message: 'this has no items or fields', hint: 'use list[0] on lists alone' };
    default:
      return whole;
  }
}

const COMPARE = 'compare it with something, as score >= 0.5';

function operatorFinding(node: ASTNode, whole: Finding): Finding {
  const operands = childrenOf(node);
  const types = operands.map(typeOf);
  if (operands.length === 1) {
    const message = `${node.op[0]} cannot be put before ${typeInWords(types[0])}`;
    return { ...whole, message, hint: node.op === '!_' ? COMPARE : 'put - before numbers alone' };
  }
  const message = `${node.op} does not fit between ${typeInWords(types[0])} and ${typeInWords(types[1])}`;
  return { at: operands[0].start, message, hint: hintForTypes(node.op, types) };
}

function hintForTypes(op: string, types: readonly string[]): string {
  const has = (...wanted: readonly string[]) => types.some((type) => wanted.includes(type));
  if (op === 'in') return 'write a list on the right: payment.country in ["DE", "FR"]; for texts use contains';
  if (has('string') && has('int', 'double')) return 'put texts in quotes ("5967"), numbers not';
  if (has('bool') && has('int', 'double', 'string')) return 'compare yes or no with true or false';
  if (has('payment', 'merchant', 'features', 'patterns')) return 'name one of its fields, as payment.amountMinor';
  if (has('null')) return 'a text that is not known is "", a number that is not known compares with nothing';
  return 'compare values of one type';
}

function operandFinding(node: ASTNode, whole: Finding): Finding {
  const wrong = childrenOf(node).find((operand) => typeOf(operand) !== 'bool');
  if (wrong === undefined) return whole;
  return {
    at: wrong.start,
    message: `both sides of ${node.op} must be yes or no, this is ${typeInWords(typeOf(wrong))}`,
    hint: COMPARE,
  };
}

function callFinding(node: ASTNode, whole: Finding): Finding {
  if (node.op !== 'call' && node.op !== 'rcall') return whole;
  const name = node.args[0];
  const given = childrenOf(node).map((argument) => typeInWords(typeOf(argument)));
  const form = FUNCTIONS[name];
  const message = `${name} does not take ${given.length === 0 ? 'nothing' : given.join(', ')}`;
  return { ...whole, message, hint: form === undefined ? 'look at the functions in docs/RULES.md' : `write ${form}` };
}

/** A type of the language for people. */
export function typeInWords(type: string): string {
  switch (type) {
    case 'bool':
      return 'yes or no';
    case 'double':
      return 'a number';
    case 'int':
      return 'a whole number';
    case 'string':
      return 'a text';
    case 'null':
      return 'null';
    case '':
      return 'this';
    default:
      return type.startsWith('list') ? 'a list' : `all of ${type}`;
  }
}

/** Quoted as it stands, cut to a readable length. */
export function quoted(part: string): string {
  return `'${part.length > 40 ? `${part.slice(0, 40)}…` : part}'`;
}

function lowerFirst(words: string): string {
  return words.slice(0, 1).toLowerCase() + words.slice(1);
}
