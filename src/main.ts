/** Owns the process entry of `npm start`. What happens is told in `app/run.ts`. */
import { run } from './app/run.js';

// Not exitCode alone: a part that could not be stopped in time must not keep the process.
process.exit(await run(process.argv.slice(2)));
