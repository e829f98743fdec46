/** The closing line must never be better than the run was. */
import { describe, expect, it } from 'vitest';
import { closingLine, type TestReport, tally } from '../../scripts/test/tally.js';

const lenient = { strict: false, hasSharedData: true };
const strict = { strict: true, hasSharedData: false };

function report(statuses: Record<string, string>, fileStatus = 'passed', message = ''): TestReport {
  const assertionResults = Object.entries(statuses).map(([fullName, status]) => ({ fullName, status }));
  return { testResults: [{ name: 'a.test.ts', status: fileStatus, message, assertionResults }] };
}

describe('the tally of a test run', () => {
  it('adds checks and tests', () => {
    const checks = [
      { name: 'lint', ok: true },
      { name: 'types', ok: false },
    ];
    const counted = tally(checks, report({ one: 'passed', two: 'failed' }, 'failed'), 1, lenient);
    expect(closingLine(counted)).toBe('2 passed, 2 failed');
  });

  it('counts a file that could not be run', () => {
    const counted = tally([], report({}, 'failed', 'Cannot find module x\n at …'), 1, lenient);
    expect(counted).toMatchObject({ passed: 0, failed: 1, reasons: ['a.test.ts: Cannot find module x'] });
  });

  it('counts an error outside of tests, a missing report, and a run without tests', () => {
    expect(tally([], report({ one: 'passed' }), 1, lenient).failed).toBe(1);
    expect(tally([], report({ one: 'passed' }), null, lenient).failed).toBe(1);
    expect(tally([], null, null, lenient).failed).toBe(1);
    expect(tally([], { testResults: [] }, 0, lenient).failed).toBe(1);
    expect(tally([], report({ one: 'passed' }), 0, lenient).failed).toBe(0);
  });

  it('lists tests left out, and counts them as failed where nobody reads the list', () => {
    const left = report({ one: 'passed', 'two needs ../shared': 'skipped', three: 'pending' });
    expect(tally([], left, 0, lenient)).toMatchObject({ passed: 1, failed: 0, refused: [] });
    expect(tally([], left, 0, lenient).skipped).toHaveLength(2);
    expect(tally([], left, 0, strict)).toMatchObject({ failed: 1, refused: ['a.test.ts: three'] });
    expect(tally([], left, 0, { strict: true, hasSharedData: true }).failed).toBe(2);
  });
});
