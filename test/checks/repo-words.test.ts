/** The check of names, words and sizes sees what it is there for. */
import { describe, expect, it } from 'vitest';
import { checkPath, checkText } from '../../scripts/checks/repo-words.js';

const messages = (text: string, path = 'src/x.ts') => checkText(path, text).map((problem) => problem.message);
const whole = (...parts: string[]) => parts.join('');

describe('the check of words', () => {
  it('finds paths of machines and hosts of package registries, in any text file', () => {
    expect(messages(whole('read /ro', 'ot/.cache/x'), 'docs/A.md')).toHaveLength(1);
    expect(messages(whole('see /wo', 'rk/main'))).toHaveLength(1);
    expect(messages(whole('https://registry.npm', 'js.org/zod'), 'README.md')).toHaveLength(1);
  });

  it('leaves relative paths and words that only look alike alone', () => {
    expect(messages('src/work/x and frame/work/y, /srv/fraud, at home, the /v1/homes route')).toEqual([]);
  });

  it('refuses declarations whose names say nothing, and folders', () => {
    expect(messages(whole('export class EpochMan', 'ager {'))).toHaveLength(1);
    expect(messages(whole('const readHel', 'per = 1'))).toHaveLength(1);
    expect(messages(whole('import { EntityMan', "ager } from 'typeorm';"))).toEqual([]);
    expect(checkPath('src/stream/utils/x.ts')).toHaveLength(1);
    expect(checkPath('src/stream/helpers.ts')).toHaveLength(1);
    expect(checkPath('src/stream/time/watermark.ts')).toEqual([]);
  });

  it('refuses files over 600 lines of code and a focused test', () => {
    expect(messages('x\n'.repeat(600))).toEqual([]);
    expect(messages('x\n'.repeat(601))).toHaveLength(1);
    expect(messages('x\n'.repeat(601), 'docs/LONG.md')).toEqual([]);
    expect(messages(whole('  it.on', "ly('works', () => 1)"), 'test/x.test.ts')).toHaveLength(1);
  });

  it('names file and line', () => {
    expect(checkText('a.md', whole('fine\n/wo', 'rk/x'))).toMatchObject([{ path: 'a.md', line: 2 }]);
  });
});
