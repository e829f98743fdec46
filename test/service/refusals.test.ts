/**
 * What the service refuses to start with: each time a message that names what is wrong and the way out, the exit code
 * (1 failed, 2 called wrongly), no stack trace, and nothing left running. And what it answers instead of starting.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { leftAt, ROOT, type StartOptions, Workshop } from './service.js';

const [MOUNT, UMOUNT] = ['/bin/mount', '/bin/umount'];
const workshop = new Workshop();
const mounted: string[] = [];
afterEach(async () => {
  for (const directory of mounted.splice(0)) execFileSync(UMOUNT, [directory]);
  await workshop.clear();
});

/** Errors of a mistaken set-up shall show within this time; most do in one second. */
const REFUSAL_LIMIT_MS = 15_000;

async function refused(flags: readonly string[], options: StartOptions = {}) {
  const service = workshop.start(flags, options);
  const { code } = await service.ended;
  expect(performance.now() - service.startedAtMs, service.said()).toBeLessThan(REFUSAL_LIMIT_MS);
  expect(service.said()).not.toMatch(/^ {4}at /m);
  return { code, message: service.stderr, said: service.stdout };
}

const quiet = ['--no-demo', '--port=0'] as const;

describe('the service refuses', () => {
  it('a port that is in use, naming it and how to choose another', async () => {
    const directory = workshop.directory();
    const port = await workshop.occupyPort();
    const { code, message, said } = await refused([`--data-dir=${directory}`, `--port=${port}`]);
    expect(code).toBe(1);
    expect(message).toMatch(new RegExp(`^fraud: Port ${port} on 127\\.0\\.0\\.1 is in use .*--port`));
    expect(said).toMatch(/^stopped in /m);
    expect(await leftAt(directory, 1_000)).toEqual([]);
  });

  it('a file where the data directory should be', async () => {
    const file = path.join(workshop.directory(), 'data');
    writeFileSync(file, 'mine');
    const { code, message } = await refused([...quiet, `--data-dir=${file}`]);
    expect(code).toBe(1);
    expect(message).toMatch(new RegExp(`^fraud: The data directory ${file} cannot be used .*FRAUD_DATA_DIR.*\\n$`));
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it.runIf(process.platform === 'linux')('a data directory that nothing can be written to', async () => {
    const { code, message } = await refused([...quiet, '--data-dir=/proc/fraud']);
    expect(code).toBe(1);
    expect(message).toMatch(/^fraud: The data directory \/proc\/fraud cannot be used .*--data-dir or FRAUD_DATA_DIR/);
  });

  it('a directory that holds somebody else’s files, also with --fresh, and leaves them alone', async () => {
    const directory = workshop.directory();
    writeFileSync(path.join(directory, 'letters.txt'), 'dear');
    const { code, message } = await refused([...quiet, `--data-dir=${directory}`, '--fresh']);
    expect(code).toBe(1);
    expect(message).toContain(`${directory} is not a data directory of this program and is not empty (letters.txt)`);
    expect(readdirSync(directory)).toEqual(['letters.txt']);
  });

  it('a data directory that another process works in, naming that process, also with --fresh', async () => {
    const directory = workshop.directory();
    const holder = workshop.start(['--roles=detector', ...quiet, `--data-dir=${directory}`]);
    await holder.up();
    for (const more of [[], ['--fresh']]) {
      const { code, message } = await refused([...quiet, `--data-dir=${directory}`, ...more]);
      expect(code).toBe(1);
      expect(message).toMatch(
        new RegExp(`^fraud: The data directory ${directory} is in use by process ${holder.pid} .*Stop `),
      );
    }
    expect((await holder.get('/health/ready')).status).toBe(200);
    expect((await holder.stop('SIGTERM')).code).toBe(0);
  });

  const mountable = canMount();
  const aFullDisk = async (): Promise<void> => {
    const directory = path.join(workshop.directory(), 'small');
    mkdirSync(directory);
    execFileSync(MOUNT, ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', directory]);
    mounted.push(directory);
    const { code, message } = await refused([...quiet, `--data-dir=${directory}`]);
    expect(code).toBe(1);
    expect(message).toMatch(/has \d+ MiB free; at least 256 MiB are needed\. Free some space, or .*--data-dir/);
  };
  // Where CI may not mount, the unit test of the data directory stands for it.
  if (mountable || process.env.CI !== 'true') it.runIf(mountable)('a disk that is full', aFullDisk);

  it('a Kafka broker that is not there, naming its address', async () => {
    const directory = workshop.directory();
    const { code, message } = await refused([`--data-dir=${directory}`, '--port=0', '--kafka=127.0.0.1:1']);
    expect(code).toBe(1);
    expect(message).toMatch(/^fraud: No Kafka broker answered \(127\.0\.0\.1:1: .*check.*--kafka host:port/);
    expect(await leftAt(directory, 1_000)).toEqual([]);
  });

  it('a model trained on other features, listing the difference', async () => {
    const { model, directory } = copyModel();
    const file = path.join(model, 'metadata.json');
    const metadata = JSON.parse(readFileSync(file, 'utf8')) as { featureNames: string[] };
    const [first] = metadata.featureNames;
    metadata.featureNames[0] = 'moonPhase';
    writeFileSync(file, JSON.stringify(metadata));
    const { code, message } = await refused([...quiet, `--data-dir=${directory}`, `--model-directory=${model}`]);
    expect(code).toBe(1);
    expect(message).toContain('(model-mismatch)');
    expect(message).toMatch(/this build lacks: moonPhase$/m);
    expect(message).toMatch(new RegExp(`the model lacks: ${first}$`, 'm'));
  });

  it('a model whose bytes are not those of its metadata', async () => {
    const { model, directory } = copyModel();
    writeFileSync(path.join(model, 'model.onnx'), 'no longer a model');
    const { code, message } = await refused([...quiet, `--data-dir=${directory}`, `--model-directory=${model}`]);
    expect(code).toBe(1);
    expect(message).toMatch(
      /model\.onnx is not the model that its metadata describes: sha256 is [0-9a-f]{64}, expected/,
    );
    expect(message).toContain('Restore both files');
    // Refused before anything else was begun.
    expect(existsSync(path.join(directory, 'postgres', 'cluster'))).toBe(false);
  });

  it('rules with a mistake, naming the file, the place and a hint', async () => {
    const directory = workshop.directory();
    const file = path.join(workshop.directory(), 'rules.json');
    const rule = { id: 'too-high', name: 'Too high', version: 1, decision: 'review', severity: 'high' };
    const condition = 'payment.amountMinor > 100 && scor >= 0.5';
    writeFileSync(file, JSON.stringify({ version: 1, rules: [{ ...rule, condition }] }));
    const { code, message } = await refused([...quiet, `--data-dir=${directory}`, `--rules-file=${file}`]);
    expect(code).toBe(1);
    expect(message).toContain(`rules file ${file}`);
    expect(message).toMatch(/rules\[0\]\.condition.*line 1, column 30.*scor.*did you mean score\?/);
  });

  it('a rules file that is no JSON, naming it', async () => {
    const file = path.join(workshop.directory(), 'rules.json');
    writeFileSync(file, '{ nothing');
    const { code, message } = await refused([...quiet, `--data-dir=${workshop.directory()}`, `--rules-file=${file}`]);
    expect(code).toBe(1);
    expect(message).toMatch(new RegExp(`^fraud: the rules file ${file} cannot be read: .*\\(rules-unreadable\\)\\n$`));
  });

  it('an unknown flag, with the one that was meant', async () => {
    const { code, message, said } = await refused(['--prot', '8080']);
    expect(code).toBe(2);
    expect(message).toMatch(/--prot\n +There is no such flag\. Did you mean --port\?/);
    expect(said).toBe('');
  });

  it('wrong values, all of them at once, wherever they come from', async () => {
    const file = path.join(workshop.directory(), 'settings.json');
    writeFileSync(file, '{"epoch": {"maxMS": 5}, "demo": {"ratePerSecond": "fast"}}');
    const { code, message } = await refused(['--workers=0', `--config=${file}`], {
      env: { PORT: 'abc', FRAUD_DATA_DIRR: '/tmp' },
    });
    expect(code).toBe(2);
    expect(message).toMatch(/^The configuration has 5 problems:/);
    for (const part of ['--workers', 'epoch.maxMs?', 'demo.ratePerSecond', 'variable PORT', 'FRAUD_DATA_DIR?']) {
      expect(message).toContain(part);
    }
    expect(message).toContain('--help');
  });
});

describe('the service answers', () => {
  it('--help with every setting', async () => {
    const { code, message, said } = await refused(['--help']);
    expect(code).toBe(0);
    expect(message).toBe('');
    const { SETTINGS } = await import('../../src/app/configuration/load.js');
    expect(SETTINGS.length).toBeGreaterThan(60);
    for (const { flags, variables } of SETTINGS) {
      for (const flag of flags) expect(said).toContain(`--${flag}`);
      for (const variable of variables) expect(said).toContain(variable);
    }
  });

  it('--version with the version of the package', async () => {
    const { code, said } = await refused(['--version']);
    expect(code).toBe(0);
    expect(said.trim()).toBe(
      (JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string }).version,
    );
  });
});

function copyModel(): { model: string; directory: string } {
  const model = path.join(workshop.directory(), 'model');
  cpSync(path.join(ROOT, 'models/card-risk/1'), model, { recursive: true });
  return { model, directory: workshop.directory() };
}

function canMount(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const directory = workshop.directory();
  try {
    execFileSync(MOUNT, ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory], { stdio: 'ignore' });
    execFileSync(UMOUNT, [directory]);
    return true;
  } catch {
    return false;
  }
}
