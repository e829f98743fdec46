/**
 * Owns what a process tells the group that it joins: the group's name and the claim. Whoever runs a pipeline under one
 * name and generation is a member of one and the same group, whatever its `kafka.group`: their tasks commit under the
 * same names (transactional ids), so that two of them would fence each other for ever. The claim tells them apart.
 * Neighbours: `detector.ts` joins; `src/adapters/kafka/group` refuses whoever claims something else than the others.
 */
import type { TopicAdmin } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';

/**
 * The group whose members run a generation's tasks. It begins with the pipeline's name, as its transactional ids do, so
 * that one prefixed ACL covers both; a name holds no dot, so no other pipeline has this group.
 */
export function groupOf(pipelineName: string, generation: number): string {
  return generation === 1 ? pipelineName : `${pipelineName}.g${generation}`;
}

/** What this process runs, as a sentence: the same for all that share its work, another for everybody else. */
export async function claimOf(configuration: Configuration, generation: number, admin: TopicAdmin): Promise<string> {
  const { pipeline, topics, kafka } = configuration;
  const identity = await admin.identity(topics.stateLog);
  return (
    `pipeline ${pipeline.name}, generation ${generation}, on state log ${topics.stateLog} (${identity}), ` +
    `source ${topics.payments}, progress shown under group ${kafka.group}`
  );
}
