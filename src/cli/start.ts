/** Owns `fraud start`: the service itself, as `npm start` runs it. Neighbour: `src/app/run.ts`. */
import type { Command } from './command.js';

export const startCommand: Command = {
  name: 'start',
  words: '[flags]',
  summary: 'Run the service: detector, API and projector (same as npm start).',
  flags: {},
  examples: ['fraud start --fresh', 'fraud start --kafka 127.0.0.1:9092'],
  run: async ({ words }) => {
    const { run } = await import('../app/run.js');
    return run(words);
  },
};
