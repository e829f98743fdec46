/**
 * Owns the check of names, words and sizes over every file of the repository: no machine's paths, no registry's host, no
 * empty-sounding names, no file over 600 lines, no test left focused. Run: `npm run -s words`.
 * Forbidden words are put together from parts here, so that this file may be checked as well.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface WordProblem {
  readonly path: string;
  /** 1 or more; 0 where the whole file is meant. */
  readonly line: number;
  readonly message: string;
}

const MAX_LINES = 600;
const MAX_TEXT_BYTES = 2_000_000;
const CODE = /\.(ts|tsx|js|mjs|cjs|sh|sql|py)$/;
/** Text that others or machines write; data and models are no text of ours. */
const UNCHECKED = /^(package-lock\.json|LICENSE|models\/)|\.(csv|gz|png|jpg|gif|svg|onnx|parquet|jks|p12)$/;

const joined = (...parts: readonly string[]): string => parts.join('');

const FORBIDDEN: readonly { readonly what: RegExp; readonly why: string }[] = [
  {
    what: new RegExp(joined('(^|[^A-Za-z0-9_.-])/(ro', 'ot|ho', 'me/[a-z]|Us', 'ers/[A-Za-z]|wo', 'rk)/')),
    why: 'names a path of some machine; use a relative path, or /srv/… in examples',
  },
  {
    what: new RegExp(
      joined('(registry\\.|www\\.)?npm', 'js\\.(org|com)|pyp', 'i\\.org|repo1?\\.mav', 'en|proxy\\.gol', 'ang'),
      'i',
    ),
    why: 'names the host of a package registry',
  },
  {
    what: new RegExp(joined('\\b(cla', 'ude|anth', 'ropic|chat', 'gpt|copi', 'lot)\\b'), 'i'),
    why: 'names a tool that has no part in this project',
  },
];

const EMPTY_NAME =
  /\b(?:class|interface|type|enum|function|const|let)\s+([A-Za-z0-9_$]*(?:Manager|Helper|Utils?|Processor|Engine)s?)\b/;
const EMPTY_FOLDER = /(^|\/)(utils?|helpers?|common|managers?|services)(\/|\.[a-z]+$)/i;
const FOCUSED = new RegExp(joined('\\b(describe|it|test)\\.on', 'ly\\('));

/** What is wrong with a file, by its path in the repository. */
export function checkPath(path: string): readonly WordProblem[] {
  const isOurs = /^(src|test|scripts|bench|console)\//.test(path);
  if (!isOurs || !EMPTY_FOLDER.test(path)) return [];
  return [{ path, line: 0, message: 'is named for nothing it owns; name it in the words of the field' }];
}

/** What is wrong with a file, by its text. */
export function checkText(path: string, text: string): readonly WordProblem[] {
  const problems: WordProblem[] = [];
  const lines = text.split('\n');
  const lineCount = text.endsWith('\n') ? lines.length - 1 : lines.length;
  if (CODE.test(path) && lineCount > MAX_LINES) {
    problems.push({
      path,
      line: 0,
      message: `has ${lineCount} lines, more than ${MAX_LINES}; split it by what it owns`,
    });
  }
  for (const [index, content] of lines.entries()) {
    const line = index + 1;
    for (const { what, why } of FORBIDDEN) {
      const found = what.exec(content);
      if (found !== null) problems.push({ path, line, message: `${why}: ${found[0].trim()}` });
    }
    if (!CODE.test(path)) continue;
    const name = EMPTY_NAME.exec(content)?.[1];
    if (name !== undefined) problems.push({ path, line, message: `${name} says nothing; name it for what it owns` });
    if (FOCUSED.test(content)) problems.push({ path, line, message: 'runs one test alone; take the focus off again' });
  }
  return problems;
}

/** Files under version control, and those that could be. */
function listFiles(root: string): readonly string[] {
  const output = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    maxBuffer: 64 * 1_048_576,
  });
  return [...new Set(output.toString().split('\0'))].filter((path) => path !== '');
}

/** Checks the whole repository. */
export function checkRepository(root: string): readonly WordProblem[] {
  return listFiles(root).flatMap((path) => {
    const absolute = join(root, path);
    const facts = statSync(absolute, { throwIfNoEntry: false });
    if (facts === undefined || !facts.isFile()) return [];
    const named = checkPath(path);
    if (UNCHECKED.test(path) || UNCHECKED.test(basename(path)) || facts.size > MAX_TEXT_BYTES) return named;
    const bytes = readFileSync(absolute);
    return bytes.subarray(0, 8_000).includes(0) ? named : [...named, ...checkText(path, bytes.toString())];
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const problems = checkRepository(process.cwd());
  for (const { path, line, message } of problems) console.error(`${path}${line === 0 ? '' : `:${line}`} ${message}`);
  console.log(problems.length === 0 ? 'names, words and sizes are in order' : `${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
