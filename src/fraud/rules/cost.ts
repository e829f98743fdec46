/**
 * Owns the static cost of a condition: an upper bound of the steps that one evaluation can take, from the sizes that
 * texts and lists can have at most. Neighbours: `check-condition.ts` refuses over the limit; `compile-condition.ts`
 * counts while loops run, as lists that come of `split` are only assumed to be short here.
 *
 * Texts that grow in loops (`[x].map(a, a + a).map(…)` doubles each time) cost their length: the budget bounds memory.
 */
import type { ASTNode } from '@marcbachmann/cel-js';
import { LOOPS, typeOf } from './language.js';
import { childrenOf } from './tree.js';

/** What a value can be at most: a text of so many characters, a list of so many such items. Others have neither. */
interface Shape {
  readonly characters: number;
  readonly items: number;
  readonly item: Shape | null;
}

type Names = ReadonlyMap<string, Shape>;

interface Costed {
  readonly cost: number;
  readonly shape: Shape;
}

const PLAIN: Shape = { characters: 0, items: 0, item: null };
/** No text of a payment is longer. */
const VARIABLE_CHARACTERS = 64;
/** Digits of the longest number as a text. */
const NUMBER_CHARACTERS = 32;
/** Parts that a `split` is taken to give; where it gives more, the steps counted at run time tell. */
export const ASSUMED_PARTS = 16;
/** A method on texts goes through so many characters in one step. */
const CHARACTERS_A_STEP = 16;

/** An upper bound of the steps of one evaluation. Of a tree that was checked. */
export function costOf(root: ASTNode): number {
  return look(root, new Map()).cost;
}

/** The cost of one item of a loop, the loops inside it left out: they count themselves. */
export function costAnItem(loop: ASTNode): number {
  return loop.op === 'rcall' ? 1 + loop.args[2].slice(1).reduce((sum, node) => sum + nodesOutsideLoops(node), 0) : 1;
}

export function isLoop(node: ASTNode): boolean {
  return node.op === 'rcall' && LOOPS.has(node.args[0]);
}

function nodesOutsideLoops(node: ASTNode): number {
  if (isLoop(node)) return 1;
  return childrenOf(node).reduce((sum, child) => sum + nodesOutsideLoops(child), 1);
}

function variableShape(node: ASTNode): Shape {
  return typeOf(node) === 'string' ? text(VARIABLE_CHARACTERS) : PLAIN;
}

function text(characters: number): Shape {
  return { characters, items: 0, item: null };
}

function look(node: ASTNode, names: Names): Costed {
  switch (node.op) {
    case 'value':
      return { cost: 0, shape: typeof node.args === 'string' ? text(node.args.length) : PLAIN };
    case 'id':
      return { cost: 1, shape: names.get(node.args) ?? variableShape(node) };
    case '.':
      return { cost: 1, shape: variableShape(node) };
    case '[]': {
      const [list, index] = node.args.map((child) => look(child, names));
      return { cost: 1 + list.cost + index.cost, shape: list.shape.item ?? PLAIN };
    }
    case 'list': {
      const items = node.args.map((child) => look(child, names));
      const item = items.map(({ shape }) => shape).reduce(larger, PLAIN);
      return { cost: sum(items) + 1, shape: { characters: 0, items: items.length, item } };
    }
    case '?:': {
      const [condition, left, right] = node.args.map((child) => look(child, names));
      return {
        cost: 1 + condition.cost + Math.max(left.cost, right.cost),
        shape: larger(left.shape, right.shape),
      };
    }
    case '+': {
      const [left, right] = node.args.map((child) => look(child, names));
      const shape = joined(left.shape, right.shape);
      return { cost: 1 + left.cost + right.cost + size(shape), shape };
    }
    case 'call':
    case 'rcall':
      return isLoop(node) ? lookAtLoop(node, names) : lookAtCall(node, names);
    default: {
      const parts = childrenOf(node).map((child) => look(child, names));
      const compared = node.op === 'in' || node.op === '==' || node.op === '!=';
      const through = compared ? parts.reduce((most, { shape }) => Math.max(most, size(shape)), 0) : 0;
      return { cost: 1 + sum(parts) + through, shape: PLAIN };
    }
  }
}

function lookAtLoop(node: ASTNode, names: Names): Costed {
  if (node.op !== 'rcall') return { cost: 1, shape: PLAIN };
  const [method, receiver, args] = node.args;
  const list = look(receiver, names);
  const [variable, ...bodies] = args;
  const inner = new Map(names);
  if (variable.op === 'id') inner.set(variable.args, list.shape.item ?? PLAIN);
  const looked = bodies.map((body) => look(body, inner));
  const cost = 1 + list.cost + list.shape.items * (1 + sum(looked));
  if (method === 'map') return { cost, shape: { ...list.shape, item: looked.at(-1)?.shape ?? PLAIN } };
  return { cost, shape: method === 'filter' ? list.shape : PLAIN };
}

function lookAtCall(node: ASTNode, names: Names): Costed {
  const parts = childrenOf(node).map((child) => look(child, names));
  const name = node.op === 'call' || node.op === 'rcall' ? node.args[0] : '';
  const receiver = parts[0]?.shape ?? PLAIN;
  const through = parts.reduce((total, { shape }) => total + size(shape), 0);
  return { cost: 2 + sum(parts) + through, shape: resultOf(name, receiver) };
}

function resultOf(name: string, receiver: Shape): Shape {
  switch (name) {
    case 'split':
      return { characters: 0, items: ASSUMED_PARTS, item: receiver };
    case 'string':
      return text(Math.max(receiver.characters, NUMBER_CHARACTERS));
    case 'lowerAscii':
    case 'upperAscii':
      // A capital can become up to three letters ("ŉ", "ß").
      return text(receiver.characters * 3);
    case 'trim':
    case 'substring':
      return receiver;
    default:
      return PLAIN;
  }
}

const sum = (parts: readonly Costed[]) => parts.reduce((total, { cost }) => total + cost, 0);

/** Steps to go through a value once. */
function size({ characters, items, item }: Shape): number {
  const own = Math.floor(characters / CHARACTERS_A_STEP) + items;
  return own + (item === null ? 0 : items * size(item));
}

function larger(a: Shape, b: Shape): Shape {
  return {
    characters: Math.max(a.characters, b.characters),
    items: Math.max(a.items, b.items),
    item: a.item === null ? b.item : b.item === null ? a.item : larger(a.item, b.item),
  };
}

function joined(a: Shape, b: Shape): Shape {
  return { ...larger(a, b), characters: a.characters + b.characters, items: a.items + b.items };
}
