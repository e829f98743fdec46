/**
 * Owns the settings of keying: whether the payments topic is trusted to be keyed by card, or payments are keyed here
 * first. Neighbours: `schema.ts` puts them into the whole; docs/KEYING.md tells which to choose.
 */
import { z } from 'zod';
import { setting } from './setting.js';

const topicName = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,249}$/)
  .describe('a topic name: letters, digits, dot, dash and underscore, 1 to 249 of them');

function isPattern(text: string): boolean {
  try {
    new RegExp(`^(?:${text})$`);
    return true;
  } catch {
    return false; // not hidden: the refusal names the setting and what it takes
  }
}

export const keyingSettings = z.object({
  mode: setting(z.enum(['trusted', 'repartition']).default('trusted'), {
    doc: 'Who keys payments by card. With trusted, producers do, with Kafka’s default partitioner, which is checked; with repartition, a first stage here does, from any topics.',
  }),
  topics: setting(z.array(topicName).default([]), {
    doc: 'With repartition: the topics that payments come from.',
    defaultNote: 'topics.payments',
  }),
  pattern: setting(
    z
      .string()
      .min(1)
      .max(1_000)
      .refine(isPattern, 'Is no regular expression.')
      .optional()
      .describe('a regular expression that a topic’s whole name must match'),
    { doc: 'With repartition: in the place of names, all topics that match; new ones are found while it runs.' },
  ),
  partitions: setting(z.int().min(1).max(1_024).optional(), {
    doc: 'With repartition: partitions of topics.byCard where it is made here.',
    unit: 'partitions',
    defaultNote: 'topics.partitions',
  }),
  discoveryMs: setting(z.int().min(100).max(86_400_000).default(30_000), {
    doc: 'New topics and partitions are looked for this often.',
    unit: 'ms',
  }),
  misplacedShare: setting(z.number().min(0).max(1).default(0.01), {
    doc: 'A larger share of records whose key does not belong to their partition, or of cards that come under several keys, stops the task.',
  }),
  misplacedWindow: setting(z.int().min(100).max(1_000_000_000).default(10_000), {
    doc: 'How many of the last records that share is taken of.',
    unit: 'records',
  }),
});
