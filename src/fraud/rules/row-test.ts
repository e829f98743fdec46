/**
 * Owns running CEL on the values of one payment or timer: within its step budget, with every failure told as one error.
 * Neighbours: `compile-condition.ts` decides what runs here, `compile-rules.ts` contains the failures.
 */
import type { ASTNode, ParseResult } from '@marcbachmann/cel-js';
import { StreamError } from '../../stream/errors.js';
import { costAnItem, isLoop } from './cost.js';
import {
  beforeEachItem,
  CelContext,
  CONDITION_LIMITS,
  differWhereKnown,
  evaluateBy,
  typeOf,
  type ValueSource,
} from './language.js';
import type { RuleTrigger } from './rule.js';
import { childrenOf } from './tree.js';

/** A condition that could not be evaluated at these values. The rule does not fire; nothing else is touched. */
export class RuleFailedError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('rule-failed', message, options);
  }
}

/** Thrown again and again without a new stack: a failing loop must stay cheap. */
const OVER_BUDGET = new RuleFailedError(`the condition took over ${CONDITION_LIMITS.maxCost} steps`);

export class RowTest {
  private readonly context: CelContext;
  private stepsLeft = 0;

  /** `conjuncts`: those of the parsed condition that are to hold; null: the condition as it is. */
  constructor(
    private readonly parsed: ParseResult,
    trigger: RuleTrigger,
    conjuncts: readonly ASTNode[] | null,
  ) {
    this.context = new CelContext(trigger);
    // The check fills in the types that the hooks below go by.
    parsed.check();
    this.hook(parsed.ast);
    if (conjuncts !== null && parsed.ast.op === '&&') allOf(parsed.ast, conjuncts);
  }

  /** Whether it holds. Errors: {@link RuleFailedError}. */
  holds(source: ValueSource): boolean {
    this.context.source = source;
    this.stepsLeft = CONDITION_LIMITS.maxCost;
    let result: unknown;
    try {
      result = this.parsed(this.context);
    } catch (cause) {
      if (this.stepsLeft < 0) throw OVER_BUDGET;
      throw new RuleFailedError(reasonOf(cause), { cause });
    }
    // Loops and || can go on over an error, and so over this one.
    if (this.stepsLeft < 0) throw OVER_BUDGET;
    if (typeof result === 'boolean') return result;
    throw new RuleFailedError(`the condition gave ${typeof result}, not yes or no`);
  }

  private hook(node: ASTNode): void {
    for (const child of childrenOf(node)) this.hook(child);
    if (node.op === '!=' && isNumber(node.args[0]) && isNumber(node.args[1])) {
      differWhereKnown(node, node.args[0], node.args[1]);
    }
    if (!isLoop(node)) return;
    const cost = costAnItem(node);
    beforeEachItem(node, () => {
      this.stepsLeft -= cost;
      if (this.stepsLeft < 0) throw OVER_BUDGET;
    });
  }
}

const isNumber = (node: ASTNode) => ['double', 'int'].includes(typeOf(node));

/** Makes the root hold where all `conjuncts` do; as in CEL a false one decides over one that fails. */
function allOf(root: ASTNode, conjuncts: readonly ASTNode[]): void {
  evaluateBy(root, (evaluator, _root, context) => {
    let failure: unknown = null;
    for (const conjunct of conjuncts) {
      try {
        if (evaluator.run(conjunct, context) === false) return false;
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== null) throw failure;
    return true;
  });
}

/** The first line alone: the library shows the source below it. */
function reasonOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split('\n', 1)[0];
}
