/** Owns `fraud topics`: makes the pipeline's topics where they are missing, and shows what they hold. */
import { findGeneration, withGeneration } from '../app/generation.js';
import { detectionOf } from '../app/keying.js';
import { prepareTopics, topicSpecs } from '../app/topics.js';
import { type Command, withBackend } from './command.js';

export const topicsCommand: Command = {
  name: 'topics',
  words: '',
  summary: 'Make the pipeline’s topics where they are missing, and show what they hold.',
  flags: {},
  examples: ['fraud topics --kafka 127.0.0.1:9092 --partitions 4'],
  run: (invocation, surroundings) =>
    withBackend(invocation, surroundings, { makeMissing: true }, async (backend) => {
      const admin = await backend.openAdmin();
      try {
        const given = detectionOf(invocation.configuration);
        const { current } = await findGeneration({ configuration: given, backend, admin });
        const configuration = withGeneration(given, current);
        const partitions = await prepareTopics(admin, configuration, current, surroundings.tell);
        for (const { name } of topicSpecs(configuration, partitions)) {
          const ranges = await admin.ranges(name);
          const offsets = ranges.reduce((sum, { start, end }) => sum + (end - start), 0);
          surroundings.print(`${name}: ${ranges.length} × partition, ${offsets} offsets kept`);
        }
        return 0;
      } finally {
        await admin.close();
      }
    }),
};
