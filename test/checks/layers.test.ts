/** The layer rules go red on every kind of arrow that they forbid. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const config = resolve(import.meta.dirname, '../../.dependency-cruiser.cjs');
const cruiser = resolve(import.meta.dirname, '../../node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');
let project: string;

function write(path: string, text: string): void {
  const absolute = join(project, path);
  mkdirSync(dirname(absolute), { recursive: true });
  writeFileSync(absolute, text);
}

interface Violation {
  readonly rule: string;
  readonly from: string;
}

/** What a project of these files breaks. A run takes a second, so tests put many files into one. */
function violations(files: Record<string, string>): readonly Violation[] {
  for (const [path, text] of Object.entries(files)) write(path, text);
  const { stdout, stderr } = spawnSync(process.execPath, [cruiser, '--config', config, '-T', 'json', 'src'], {
    cwd: project,
    encoding: 'utf8',
  });
  if (!stdout.startsWith('{')) throw new Error(`dependency-cruiser: ${stderr}${stdout}`);
  const { summary } = JSON.parse(stdout) as { summary: { violations: { rule: { name: string }; from: string }[] } };
  return summary.violations.map(({ rule, from }) => ({ rule: rule.name, from }));
}

const uses = (path: string) => `import { x } from '${path}';\nexport const y = x;\n`;
const x = 'export const x = 1;\n';

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'fraud-layers-'));
  write('tsconfig.json', '{"compilerOptions": {"module": "nodenext", "target": "es2023"}, "include": ["src"]}');
  write('package.json', '{"type": "module", "dependencies": {"kafkajs": "1"}, "devDependencies": {"vitest": "1"}}');
  for (const name of ['kafkajs', 'vitest', 'stray']) {
    write(`node_modules/${name}/package.json`, `{"name": "${name}", "version": "1.0.0", "main": "index.js"}`);
    write(`node_modules/${name}/index.js`, 'exports.x = 1;');
  }
});

afterEach(() => rmSync(project, { recursive: true, force: true }));

/** Forbidden arrows, with the rule that each breaks. */
const FORBIDDEN: readonly (readonly [rule: string, from: string, to: string])[] = [
  ['stream-knows-nothing-above', 'src/stream/a.ts', '../fraud/x.js'],
  ['stream-knows-nothing-above', 'src/stream/b.ts', '../app/x.js'],
  ['stream-knows-nothing-above', 'src/stream/c.ts', '../main.js'],
  ['stream-uses-no-client', 'src/stream/d.ts', 'kafkajs'],
  ['stream-uses-no-client', 'src/fraud/a.ts', 'kafkajs'],
  ['fraud-knows-only-stream', 'src/fraud/b.ts', '../adapters/kafka/x.js'],
  ['adapters-know-no-app', 'src/adapters/kafka/a.ts', '../../cli/x.js'],
  ['adapters-stand-alone', 'src/adapters/rocksdb/a.ts', '../kafka/x.js'],
  ['api-knows-no-adapter', 'src/api/a.ts', '../adapters/kafka/x.js'],
  ['no-test-code-in-production', 'src/app/a.ts', '../stream/testing/x.js'],
  ['no-dev-dependency-in-production', 'src/app/b.ts', 'vitest'],
  ['no-undeclared-package', 'src/app/c.ts', 'stray'],
  ['no-missing-file', 'src/app/d.ts', './nowhere.js'],
];

describe('the layer rules', () => {
  it('let arrows point down', () => {
    const files = {
      'src/stream/a.ts': x,
      'src/fraud/b.ts': uses('../stream/a.js'),
      'src/adapters/kafka/c.ts': `${uses('../../stream/a.js')}import 'kafkajs';\n`,
      'src/api/d.ts': uses('../fraud/b.js').replace('{ x }', '{ y as x }'),
      'src/app/e.ts': `import '../api/d.js';\nimport '../adapters/kafka/c.js';\n`,
      'src/cli/main.ts': `import '../app/e.js';\n`,
    };
    expect(violations(files)).toEqual([]);
  });

  it('refuse every arrow that points elsewhere, by the rule for it and by no other', () => {
    for (const path of ['fraud/x', 'app/x', 'cli/x', 'adapters/kafka/x', 'stream/testing/x', 'main']) {
      write(`src/${path}.ts`, x);
    }
    const found = violations(Object.fromEntries(FORBIDDEN.map(([, from, to]) => [from, uses(to)])));
    const byFile = (a: Violation, b: Violation) => a.from.localeCompare(b.from);
    expect([...found].sort(byFile)).toEqual(FORBIDDEN.map(([rule, from]) => ({ rule, from })).sort(byFile));
  });

  it('refuse a cycle', () => {
    const found = violations({ 'src/app/a.ts': uses('./b.js'), 'src/app/b.ts': `import './a.js';\n${x}` });
    expect(new Set(found.map(({ rule }) => rule))).toEqual(new Set(['no-cycle']));
  });
});
