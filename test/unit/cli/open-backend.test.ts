/** Commands reach the embedded log before, beside and after the service. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadConfiguration } from '../../../src/app/configuration/index.js';
import { openDataDirectory } from '../../../src/app/data-directory.js';
import { openCommandBackend } from '../../../src/cli/open-backend.js';

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'fraud-open-'));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const configured = () =>
  loadConfiguration({ argv: ['--data-dir', join(parent, 'data')], env: {}, cwd: parent, readFile: () => undefined });

it('a feed before the first start leaves a data directory that the service takes as its own', async () => {
  const backend = await openCommandBackend(configured(), true);
  await backend.close();
  const directory = await openDataDirectory(configured().dataDir);
  await directory.close();
});

it('a command works beside the service, which holds the lock', async () => {
  const directory = await openDataDirectory(configured().dataDir);
  await directory.subdirectory('log');
  const backend = await openCommandBackend(configured(), true);
  expect(backend.kind).toBe('embedded');
  await backend.close();
  await directory.close();
});

it('a command that only reads makes no log, and says where it looked', async () => {
  await expect(openCommandBackend(configured(), false)).rejects.toMatchObject({
    code: 'log-missing',
    message: expect.stringContaining(join(parent, 'data')),
  });
});
