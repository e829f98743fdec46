/** Owns the tests of the mutation check: every mutant still has its place in the core, and the command does its work. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MUTANTS, mutate } from '../../../scripts/simulate/mutants.js';

const ROOT = join(import.meta.dirname, '../../..');
/** Inside node_modules, so that packages resolve from there. */
const built = join(ROOT, 'node_modules/.cache', `simulate-${process.pid}`);

beforeAll(async () => {
  await mkdir(built, { recursive: true });
  await writeFile(join(built, 'package.json'), '{"type":"module"}');
  const swc = join(ROOT, 'node_modules/@swc/cli/bin/swc.js');
  const build = [swc, 'src/stream', 'scripts/simulate', '-d', built, '-q'];
  await promisify(execFile)(process.execPath, build, { cwd: ROOT, timeout: 60_000 });
});

afterAll(() => rm(built, { recursive: true, force: true }));

interface Ended {
  readonly code: number;
  readonly output: string;
}

function simulate(...flags: string[]): Promise<Ended> {
  const main = join(built, 'scripts/simulate/main.js');
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...flags], { timeout: 50_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

describe('the mutants', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s has its place', async (_name, mutant) => {
    const text = await readFile(join(built, 'src/stream', `${mutant.module}.js`), 'utf8');
    expect(mutate(text, mutant)).not.toBe(text);
  });

  it('are told apart from a core that holds: one is caught, with the schedules it took', async () => {
    const { code, output } = await simulate('--mutants', '--only', 'resume-point-too-new', '--seed', '4');
    expect(output).toMatch(/caught {2}resume-point-too-new .*: \d+ schedules/);
    expect(output).toContain('1 of 1 mutants caught');
    expect(code).toBe(0);
  });

  it('that live fail the run', async () => {
    const flags = ['--mutants', '--only', 'checksum-is-not-checked', '--seed', '4', '--schedules', '1'];
    const { code, output } = await simulate(...flags);
    expect(output).toContain('ALIVE  checksum-is-not-checked');
    expect(code).toBe(1);
  });
});

describe('npm run simulate', () => {
  it('tells its seed and what it went through', async () => {
    const { code, output } = await simulate('--schedules', '6', '--seed', '4', '--jobs', '2');
    expect(output).toMatch(/^seed 4\n/);
    expect(output).toMatch(/schedules {3}6 \(6 clean, 0 failed\)/);
    expect(output).toMatch(/survived .* crashes, .* recoveries/);
    expect(code).toBe(0);
  });

  it('refuses flags that make no sense', async () => {
    expect(await simulate('--schedules', 'many')).toMatchObject({ code: 2 });
    expect(await simulate('--mutants', '--only', 'gremlin')).toMatchObject({ code: 2 });
    expect(await simulate('--fast')).toMatchObject({ code: 2 });
  });
});
