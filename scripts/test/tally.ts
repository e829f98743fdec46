/**
 * Owns the counting of everything that a test run did: checks, tests, tests that were left out. Pure.
 * Neighbour: `run.ts` runs them and prints what comes out here.
 */

/** The part of vitest's JSON report that is counted. */
export interface TestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
    }[];
  }[];
}

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  /** Tests that were left out, `file: name`. */
  readonly skipped: readonly string[];
  /** Those of them that must not be left out here; counted as failed. */
  readonly refused: readonly string[];
  /** What failed beyond single tests, in words. */
  readonly reasons: readonly string[];
}

export interface CheckOutcome {
  readonly name: string;
  readonly ok: boolean;
}

export interface Circumstances {
  /** Where nobody looks at the list, a test left out counts as failed. */
  readonly strict: boolean;
  /** The folder with the labelled payments is there, so tests that need it have no excuse. */
  readonly hasSharedData: boolean;
}

/** A test says with these words in its name that it needs the data beside the checkout. */
const NEEDS_SHARED = 'needs ../shared';

/** Sums up. A null report is a run that ended without one. `exitCode` is vitest's own. */
export function tally(
  checks: readonly CheckOutcome[],
  report: TestReport | null,
  exitCode: number | null,
  circumstances: Circumstances,
): Tally {
  const reasons: string[] = [];
  const skipped: string[] = [];
  let passed = checks.filter((check) => check.ok).length;
  let failed = checks.length - passed;
  let testFailures = 0;
  let tests = 0;
  for (const file of report?.testResults ?? []) {
    for (const test of file.assertionResults) {
      tests++;
      if (test.status === 'passed') passed++;
      else if (test.status === 'failed') testFailures++;
      else skipped.push(`${file.name}: ${test.fullName}`);
    }
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) {
      testFailures++;
      reasons.push(`${file.name}: ${file.message?.split('\n')[0] || 'could not be run'}`);
    }
  }
  if (report === null) reasons.push('vitest ended without a report');
  else if (tests === 0 && testFailures === 0) reasons.push('no test was found');
  else if (exitCode !== 0 && testFailures === 0)
    reasons.push(`vitest ended with ${exitCode ?? 'a signal'}: an error outside of tests`);
  if (testFailures === 0) failed += reasons.length;
  failed += testFailures;
  const refused = circumstances.strict
    ? skipped.filter((name) => circumstances.hasSharedData || !name.includes(NEEDS_SHARED))
    : [];
  return { passed, failed: failed + refused.length, skipped, refused, reasons };
}

/** The line that ends every run, read by machines. */
export const closingLine = (counted: Pick<Tally, 'passed' | 'failed'>): string =>
  `${counted.passed} passed, ${counted.failed} failed`;
