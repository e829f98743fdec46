/**
 * Owns `npm test`: build, static checks, then all tests, and the closing line `N passed, N failed` with the exit code
 * to match. Words behind it are taken for parts of test files' paths (`npm test -- unit/terminal`).
 * Neighbours: `tally.ts` counts; the programs called are devDependencies, found beside this project.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { type CheckOutcome, closingLine, type TestReport, tally } from './tally.ts';

const root = join(import.meta.dirname, '..', '..');
const strict = process.env.CI === 'true';
const CHECK_TIMEOUT_MS = 5 * 60_000;
const TESTS_TIMEOUT_MS = 45 * 60_000;
/** Time to end by itself after SIGTERM. */
const GRACE_MS = 10_000;

const CHECKS: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: 'lint', command: ['biome', 'check', '--error-on-warnings', '.'] },
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'layers', command: ['depcruise', '--config', '.dependency-cruiser.cjs', 'src'] },
  { name: 'words', command: ['node', 'scripts/checks/repo-words.ts'] },
  { name: 'schemas', command: ['node', 'scripts/checks/schema-compatibility.ts'] },
  { name: 'unused', command: ['knip', '--no-progress'] },
];

const running = new Set<ChildProcess>();
let interrupted = false;

interface Outcome {
  readonly exitCode: number | null;
  readonly output: string;
  readonly tookMs: number;
}

/** Runs a program of ours to its end, or to the time limit. `show` passes its output on as it comes. */
function run(command: readonly string[], timeoutMs: number, show: boolean): Promise<Outcome> {
  const startedAt = performance.now();
  const [program, ...args] = command;
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter);
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: root,
      env: { ...process.env, PATH: path },
      stdio: ['ignore', show ? 'inherit' : 'pipe', show ? 'inherit' : 'pipe'],
    });
    running.add(child);
    const output: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => output.push(chunk));
    const limit = setTimeout(() => {
      output.push(Buffer.from(`\nstopped: took longer than ${timeoutMs / 1_000} s\n`));
      stop(child);
    }, timeoutMs);
    const end = (exitCode: number | null) => {
      clearTimeout(limit);
      running.delete(child);
      resolve({ exitCode, output: Buffer.concat(output).toString(), tookMs: performance.now() - startedAt });
    };
    child.on('error', (error) => {
      output.push(Buffer.from(`${error.message}\n`));
      end(null);
    });
    child.on('close', end);
  });
}

function stop(child: ChildProcess): void {
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGKILL'), GRACE_MS).unref();
}

async function runCheck(name: string, command: readonly string[]): Promise<CheckOutcome> {
  const { exitCode, output, tookMs } = await run(command, CHECK_TIMEOUT_MS, false);
  const ok = exitCode === 0;
  console.log(`${ok ? '✓' : '✗'} ${name} (${(tookMs / 1_000).toFixed(1)} s)`);
  if (!ok) console.log(`${output.trimEnd()}\n`);
  return { name, ok };
}

async function runTests(words: readonly string[]): Promise<{ report: TestReport | null; exitCode: number | null }> {
  const directory = mkdtempSync(join(tmpdir(), 'fraud-test-'));
  const file = join(directory, 'report.json');
  try {
    const command = ['vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...words];
    const { exitCode, output } = await run(command, TESTS_TIMEOUT_MS, true);
    if (output !== '') console.log(output.trimEnd());
    const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as TestReport) : null;
    return { report, exitCode };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      interrupted = true;
      for (const child of running) stop(child);
    });
  }
  // Scripts and tests run the built files, so nothing else makes sense where the build fails.
  const checks: CheckOutcome[] = [await runCheck('build', ['npm', 'run', '-s', 'build'])];
  for (const { name, command } of CHECKS) if (!interrupted) checks.push(await runCheck(name, command));
  const { report, exitCode } = interrupted ? { report: null, exitCode: null } : await runTests(process.argv.slice(2));

  const hasSharedData = existsSync(join(root, '..', 'shared', 'data'));
  const counted = tally(checks, report, exitCode, { strict, hasSharedData });
  console.log('');
  for (const { name } of checks.filter((check) => !check.ok)) console.log(`FAILED  ${name}`);
  for (const reason of counted.reasons) console.log(`FAILED  ${reason}`);
  if (counted.skipped.length > 0) {
    console.log(`NOT RUN  ${counted.skipped.length} tests, of which ${counted.refused.length} count as failed:`);
    for (const name of counted.skipped) console.log(`  ${counted.refused.includes(name) ? '✗' : '-'} ${name}`);
  }
  if (interrupted) console.log('interrupted');
  console.log(closingLine(counted));
  process.exitCode = counted.failed > 0 || interrupted ? 1 : 0;
}

await main();
