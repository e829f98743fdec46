/** Owns what can be said of units of assignment: names, order, which topics a pattern means. Neighbour: `ports.ts`. */
import type { SourcePartition } from './ports.js';

/** Names a unit in maps and messages. Topic names have no `/`. */
export const unitName = ({ topic, partition }: SourcePartition): string => `${topic}/${partition}`;

/** By topic, then by partition. */
export function compareUnits(a: SourcePartition, b: SourcePartition): number {
  return a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1;
}

/** Every partition of a topic. */
export function unitsOf(topic: string, partitions: number): SourcePartition[] {
  return Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));
}

/** Those of `names` that `pattern` matches as a whole, sorted. Topics that Kafka keeps for itself (`__…`) never. */
export function matchingTopics(pattern: string, names: Iterable<string>): string[] {
  const whole = new RegExp(`^(?:${pattern})$`);
  return [...names].filter((name) => whole.test(name) && !name.startsWith('__')).sort();
}
