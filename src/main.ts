/** Owns the process entry of `npm start`. What happens is told in `app/run.ts`. */
import 'reflect-metadata';
import { run } from './app/run.js';

process.exitCode = await run(process.argv.slice(2));
