/** Owns walking a condition's parsed tree. Neighbours: `check-condition.ts`, `cost.ts` and `compile-condition.ts` walk. */
import type { ASTNode } from '@marcbachmann/cel-js';

/** The nodes right below a node, in the order of the text. */
export function childrenOf(node: ASTNode): readonly ASTNode[] {
  switch (node.op) {
    case 'value':
    case 'id':
      return [];
    case '.':
    case '.?':
      return [node.args[0]];
    case 'call':
      return node.args[1];
    case 'rcall':
      return [node.args[1], ...node.args[2]];
    case 'list':
      return node.args;
    case 'map':
      return node.args.flat();
    case '!_':
    case '-_':
      return [node.args];
    default:
      return node.args;
  }
}

/** `payment.country` or `score` as one name; null for anything else. */
export function variableName(node: ASTNode): string | null {
  if (node.op === 'id') return node.args;
  if (node.op === '.' && node.args[0].op === 'id') return `${node.args[0].args}.${node.args[1]}`;
  return null;
}

/** All `a`, `b`, `c` of `a && b && c` (or `||`), in the order of the text. */
export function partsOf(node: ASTNode, op: '&&' | '||'): readonly ASTNode[] {
  const parts: ASTNode[] = [];
  let rest = node;
  while (rest.op === op) {
    parts.unshift(...(rest.args[1].op === op ? partsOf(rest.args[1], op) : [rest.args[1]]));
    rest = rest.args[0];
  }
  parts.unshift(rest);
  return parts;
}
