/** The process that the tests of the data directory kill: opens it, says so (or the code of the error), and waits. */
import { openDataDirectory } from '../../src/app/data-directory.js';

try {
  await openDataDirectory(process.argv[2] ?? '', { minimumFreeBytes: 0 });
  process.stdout.write('opened\n');
  setInterval(() => undefined, 1_000);
} catch (error) {
  process.stdout.write(`refused ${error instanceof Error && 'code' in error ? error.code : error}\n`);
}
