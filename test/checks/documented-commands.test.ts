/** Commands that people are told to run work with the Node that the project brings: npm scripts use it, a bare `node` is theirs. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>;
};
const files = execFileSync('git', ['ls-files', '*.md', 'scripts/*.ts', 'bench/*.ts', 'src/*.ts'], { cwd: root })
  .toString()
  .trim()
  .split('\n');
const texts = files.map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }));

const told = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => /\b(?:node|npx node)\s+(?:--\S+\s+)*(?:\.?\/?(?:dist|scripts|bench)\/|[\w/-]+\.js\b)/.test(line));

describe('documentation and comments', () => {
  it('tell nobody to run our files with a bare node', () => {
    expect(told('run `node dist/scripts/a.js`')).toHaveLength(1);
    expect(told(' *   node measure.js')).toHaveLength(1);
    const found = texts.flatMap(({ file, text }) => told(text).map((line) => `${file}: ${line.trim()}`));
    // Where there is no npm script on purpose: a machine's own Node 24 is what that sentence is about.
    expect(found.filter((line) => !line.startsWith('docs/adr/0004-node-version.md: '))).toEqual([]);
  });

  it('name npm scripts that exist', () => {
    const named = texts.flatMap(({ file, text }) =>
      [...text.matchAll(/npm run (?:-s )?([a-z][a-z:-]*)/g)].map(([, name]) => ({ file, name: name ?? '' })),
    );
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter(({ name }) => scripts[name] === undefined)).toEqual([]);
  });
});

describe('an npm script', () => {
  it('that runs a built file of a tool builds it first, or belongs to those that say so', () => {
    const saySo = ['start', 'prove', 'simulate', 'bench'];
    const stale = Object.entries(scripts).filter(
      ([, command]) =>
        command.includes('node') && command.includes('dist/') && !command.startsWith('npm run -s build &&'),
    );
    expect(stale.map(([name]) => name)).toEqual(saySo);
  });
});
