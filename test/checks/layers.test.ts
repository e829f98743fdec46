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

/** Names of the rules that a project of these files breaks. */
function broken(files: Record<string, string>): readonly string[] {
  for (const [path, text] of Object.entries(files)) write(path, text);
  const { stdout, stderr } = spawnSync(process.execPath, [cruiser, '--config', config, '-T', 'json', 'src'], {
    cwd: project,
    encoding: 'utf8',
  });
  if (!stdout.startsWith('{')) throw new Error(`dependency-cruiser: ${stderr}${stdout}`);
  const { summary } = JSON.parse(stdout) as { summary: { violations: { rule: { name: string } }[] } };
  return [...new Set(summary.violations.map((violation) => violation.rule.name))].sort();
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
    expect(broken(files)).toEqual([]);
  });

  it.each([
    ['stream-knows-nothing-above', 'src/stream/a.ts', '../fraud/x.js'],
    ['stream-knows-nothing-above', 'src/stream/a.ts', '../app/x.js'],
    ['stream-uses-no-client', 'src/stream/a.ts', 'kafkajs'],
    ['stream-uses-no-client', 'src/fraud/a.ts', 'kafkajs'],
    ['fraud-knows-only-stream', 'src/fraud/a.ts', '../adapters/kafka/x.js'],
    ['adapters-know-no-app', 'src/adapters/kafka/a.ts', '../../cli/x.js'],
    ['adapters-stand-alone', 'src/adapters/rocksdb/a.ts', '../kafka/x.js'],
    ['api-knows-no-adapter', 'src/api/a.ts', '../adapters/kafka/x.js'],
    ['no-test-code-in-production', 'src/app/a.ts', '../stream/testing/x.js'],
    ['no-dev-dependency-in-production', 'src/app/a.ts', 'vitest'],
    ['no-undeclared-package', 'src/app/a.ts', 'stray'],
    ['no-missing-file', 'src/app/a.ts', './nowhere.js'],
  ])('refuse %s: %s → %s', (rule, from, to) => {
    for (const path of ['fraud', 'app', 'cli', 'adapters/kafka', 'stream/testing']) write(`src/${path}/x.ts`, x);
    expect(broken({ [from]: uses(to) })).toEqual([rule]);
  });

  it('refuse a cycle', () => {
    expect(broken({ 'src/app/a.ts': uses('./b.js'), 'src/app/b.ts': `import './a.js';\n${x}` })).toEqual(['no-cycle']);
  });
});
