/**
 * Owns the rule language: CEL as `@marcbachmann/cel-js` parses, checks and evaluates it, cut down to what a rule needs,
 * with the variables as its only names. Neighbours: `variables.ts` names the values, `check-condition.ts` tells authors
 * what is wrong, `compile-condition.ts` runs conditions, `docs/RULES.md` describes the language to authors.
 *
 * L1 Numbers mix: every variable is a double, and a whole number may stand wherever a double may.
 * L2 No comparison with NaN holds, `!=` neither (in CEL that one would).
 * L3 What runs is bounded: the text, the tree, and the steps of one evaluation.
 * L4 What a condition reads comes from a {@link ValueSource}, asked for what is used alone.
 *
 * L2 and the counting of steps hook into the parsed tree at the place where the library itself keeps a node's
 * evaluation (`meta.evaluate`). The library's version is pinned; `test/unit/rules/language.test.ts` holds both.
 */
import { type ASTNode, Environment, type ParseResult } from '@marcbachmann/cel-js';
import { RULE_TRIGGERS, type RuleTrigger } from './rule.js';
import { makeVariables, type Variable, type VariableType } from './variables.js';

export const CONDITION_LIMITS = {
  maxLength: 4_096,
  maxNodes: 500,
  maxDepth: 40,
  maxListItems: 200,
  /** Steps of one evaluation: about as many operators, variables and list items looked at. */
  maxCost: 2_000,
} as const;

/** Functions and methods that a rule may call, with what they take. Bounded, without clock, locale or patterns. */
export const FUNCTIONS: Readonly<Record<string, string>> = {
  contains: 'text.contains(text)',
  startsWith: 'text.startsWith(text)',
  endsWith: 'text.endsWith(text)',
  size: 'size(text) or size(list)',
  lowerAscii: 'text.lowerAscii()',
  upperAscii: 'text.upperAscii()',
  trim: 'text.trim()',
  substring: 'text.substring(from, to)',
  indexOf: 'text.indexOf(text)',
  split: 'text.split(text)',
  double: 'double(text) or double(whole number)',
  int: 'int(number) or int(text)',
  string: 'string(number)',
  exists: 'list.exists(x, condition on x)',
  exists_one: 'list.exists_one(x, condition on x)',
  all: 'list.all(x, condition on x)',
  filter: 'list.filter(x, condition on x)',
  map: 'list.map(x, value of x)',
};

/** The functions that go through a list, whose first argument names the item. */
export const LOOPS: ReadonlySet<string> = new Set(['exists', 'exists_one', 'all', 'filter', 'map']);

/** Values of the variables at one payment or timer. Not known: NaN, false, "". */
export interface ValueSource {
  number(name: string): number;
  flag(name: string): boolean;
  text(name: string): string;
}

const NO_VALUES: ValueSource = { number: () => Number.NaN, flag: () => false, text: () => '' };

/** `payment`, `merchant`, … as the evaluation sees them: each field reads from the source. */
class Group {
  source: ValueSource = NO_VALUES;
}

type GroupClass = new () => Group;

function reader(variable: Variable): (source: ValueSource) => unknown {
  const { name } = variable;
  const read: Readonly<Record<VariableType, (source: ValueSource) => unknown>> = {
    double: (source) => source.number(name),
    bool: (source) => source.flag(name),
    string: (source) => source.text(name),
  };
  return read[variable.type];
}

function groupClass(variables: readonly Variable[]): GroupClass {
  const made = class extends Group {};
  for (const variable of variables) {
    const read = reader(variable);
    Object.defineProperty(made.prototype, fieldOf(variable), {
      get(this: Group) {
        return read(this.source);
      },
    });
  }
  return made;
}

const groupOf = ({ name }: Variable) => (name.includes('.') ? name.slice(0, name.indexOf('.')) : null);
const fieldOf = ({ name }: Variable) => name.slice(name.indexOf('.') + 1);

const NUMBERS: readonly (readonly [string, (a: number, b: number) => number])[] = [
  ['+', (a, b) => a + b],
  ['-', (a, b) => a - b],
  ['*', (a, b) => a * b],
  ['/', (a, b) => a / b],
  ['%', (a, b) => a % b],
];

/** L1: what CEL leaves out between whole numbers and doubles, and `%` for doubles. */
function mixNumbers(environment: Environment): void {
  for (const [op, of] of NUMBERS) {
    environment.registerOperator(`int ${op} double: double`, (a: bigint, b: number) => of(Number(a), b));
    environment.registerOperator(`double ${op} int: double`, (a: number, b: bigint) => of(a, Number(b)));
  }
  environment.registerOperator('double % double: double', (a: number, b: number) => a % b);
  environment.registerOperator('int == double', (a: bigint, b: number) => Number(a) === b);
  environment.registerOperator('double in list<int>', (value: number, list: readonly bigint[]) =>
    list.some((item) => Number(item) === value),
  );
}

interface Language {
  readonly environment: Environment;
  readonly groups: ReadonlyMap<string, GroupClass>;
}

function makeLanguage(trigger: RuleTrigger): Language {
  const environment = new Environment({
    limits: {
      maxAstNodes: CONDITION_LIMITS.maxNodes,
      maxDepth: CONDITION_LIMITS.maxDepth,
      maxListElements: CONDITION_LIMITS.maxListItems,
      maxMapEntries: CONDITION_LIMITS.maxListItems,
      maxCallArguments: 3,
    },
  });
  mixNumbers(environment);
  const variables = variablesOf(trigger);
  const groups = new Map<string, GroupClass>();
  for (const [group, members] of Map.groupBy(variables, groupOf)) {
    if (group === null) {
      for (const { name, type } of members) environment.registerVariable(name, type);
      continue;
    }
    const made = groupClass(members);
    const fields = Object.fromEntries(members.map((variable) => [fieldOf(variable), variable.type]));
    environment.registerType(group, { ctor: made, fields });
    environment.registerVariable(group, group);
    groups.set(group, made);
  }
  return { environment, groups };
}

const ALL_VARIABLES: readonly Variable[] = [...makeVariables().values()];

/** The variables that a condition of this trigger may use. */
export function variablesOf(trigger: RuleTrigger): readonly Variable[] {
  return ALL_VARIABLES.filter(({ triggers }) => triggers.includes(trigger));
}

const LANGUAGES = Object.fromEntries(RULE_TRIGGERS.map((trigger) => [trigger, makeLanguage(trigger)])) as Readonly<
  Record<RuleTrigger, Language>
>;

/** Parses a condition. Throws the library's ParseError. The result's `check` must find it valid before it is run. */
export function parseCel(text: string, trigger: RuleTrigger): ParseResult {
  return LANGUAGES[trigger].environment.parse(text);
}

/** What an evaluation gets: the variables, read from whatever `source` is at the time. */
export class CelContext {
  private readonly groups: readonly Group[];
  private current: ValueSource = NO_VALUES;

  constructor(trigger: RuleTrigger) {
    const groups = [...LANGUAGES[trigger].groups].map(([name, Made]) => [name, new Made()] as const);
    this.groups = groups.map(([, group]) => group);
    Object.assign(this, Object.fromEntries(groups));
  }

  get score(): number {
    return this.current.number('score');
  }

  set source(source: ValueSource) {
    if (source === this.current) return;
    this.current = source;
    for (const group of this.groups) group.source = source;
  }
}

/** The library's own parts of a node, which its typings leave out. */
interface NodeParts {
  readonly meta: { readonly alternate?: ComprehensionNode; readonly evaluate: Evaluate };
  readonly checkedType?: { readonly name: string };
  setMeta(key: 'evaluate', value: Evaluate): unknown;
}
type Evaluate = (evaluator: Evaluator, node: ASTNode, context: unknown) => unknown;
interface Evaluator {
  run(node: ASTNode, context: unknown): unknown;
}
interface ComprehensionNode {
  readonly args: { readonly step: ASTNode };
}

const partsOf = (node: ASTNode) => node as unknown as NodeParts;

/** The type that the check found, as `double` or `list<string>`. Only after `check`. */
export function typeOf(node: ASTNode): string {
  return partsOf(node).checkedType?.name ?? '';
}

/** Replaces how a node evaluates, from its first evaluation on. */
export function evaluateBy(node: ASTNode, evaluate: Evaluate): void {
  partsOf(node).setMeta('evaluate', evaluate);
}

/** A number's `!=` that L2 wants: false where either side is NaN. */
export function differWhereKnown(node: ASTNode, left: ASTNode, right: ASTNode): void {
  evaluateBy(node, (evaluator, _node, context) => {
    const a = evaluator.run(left, context) as number | bigint;
    const b = evaluator.run(right, context) as number | bigint;
    return a < b || a > b;
  });
}

/** Calls `before` ahead of each item that a loop (`exists`, `map` …) looks at. Only after `check`. */
export function beforeEachItem(loop: ASTNode, before: () => void): void {
  const step = partsOf(loop).meta.alternate?.args.step;
  if (step === undefined) return;
  const { evaluate } = partsOf(step).meta;
  evaluateBy(step, (evaluator, node, context) => {
    before();
    return evaluate(evaluator, node, context);
  });
}
