#!/usr/bin/env node
/**
 * Owns the way into the command `fraud`: runs dist/src/cli/process.js on the Node that this project brings along
 * (package `node`), whichever one was found first. Plain JavaScript for old Nodes.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const entry = fileURLToPath(new URL('../dist/src/cli/process.js', import.meta.url));
if (!existsSync(entry)) {
  console.error('fraud: not built yet; run `npm run build` first.');
  process.exit(1);
}
const ownNode = fileURLToPath(new URL(`../node_modules/node/bin/node${process.platform === 'win32' ? '.exe' : ''}`, import.meta.url));

if (Number(process.versions.node.split('.')[0]) >= 24 || !existsSync(ownNode)) {
  await import(entry);
} else {
  const child = spawn(ownNode, [entry, ...process.argv.slice(2)], { stdio: 'inherit' });
  // Ctrl-C reaches the whole process group; this one only waits for the other to end in order.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('error', (error) => {
    console.error(`fraud: cannot start ${ownNode}: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
