/**
 * Owns what a process tells the group that it joins: the group's name and the claim. Whoever runs a pipeline under one
 * name and generation is a member of one and the same group, whatever its `kafka.group`: their tasks commit under the
 * same names (transactional ids), so that two of them would fence each other for ever. The claim tells them apart.
 * Neighbours: `detector.ts` joins; `src/adapters/kafka/group` refuses whoever claims something else than the others.
 */
import { StreamError } from '../stream/errors.js';
import type { TopicAdmin } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';
import { stateLogOf } from './generation.js';

/** Generations after our own that are looked for: of a lineage that is not ours. */
const GENERATIONS_AHEAD = 8;

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
  const runs = await runsOf(pipeline.name, generation, topics.stateLog, admin);
  return `${runs}source ${topics.payments}, progress shown under group ${kafka.group}`;
}

/** What a claim begins with: enough to tell one lineage from another. */
async function runsOf(name: string, generation: number, stateLog: string, admin: TopicAdmin): Promise<string> {
  return `pipeline ${name}, generation ${generation}, on state log ${stateLog} (${await admin.identity(stateLog)}), `;
}

/**
 * Two pipelines of one name whose generations differ are in different groups, and commit under different names: neither
 * would fence the other. So a start looks at the groups of the other generations. `configuration` is as it was given: its
 * state log is that of the first generation. Those of our own earlier generations end by themselves (their logs are
 * sealed): they are told. Errors: 'pipeline-name-taken' for anybody else.
 */
export async function expectNameFree(
  { pipeline, topics, kafka }: Pick<Configuration, 'pipeline' | 'topics' | 'kafka'>,
  generation: number,
  admin: TopicAdmin,
  say: (level: 'warn', message: string) => void,
): Promise<void> {
  const look = async (number: number) => {
    const group = groupOf(pipeline.name, number);
    const claims = await admin.groupClaims(group);
    if (claims.length === 0) return;
    const ours = number < generation ? await ourClaim(number) : null;
    // Who says nothing is only just being given its share, or of another build.
    const foreign = claims.find((claim) => ours === null || (claim !== null && !claim.startsWith(ours)));
    if (foreign !== undefined) {
      throw new StreamError(
        'pipeline-name-taken',
        `A pipeline of this name runs in group ${group}: ${foreign ?? 'it has not said yet what it runs'}. This process would run ` +
          `generation ${generation} of the one that began on state log ${topics.stateLog}. Both would process the same payments. ` +
          `Give this one another --pipeline-name, or stop the other; one that was killed counts until its session times out (${kafka.sessionTimeoutMs} ms)`,
      );
    }
    say('warn', `generation ${number} still has members in group ${group}: they end when they look at their state log`);
  };
  const ourClaim = async (number: number) => {
    const stateLog = stateLogOf(topics.stateLog, number);
    if ((await admin.partitionCount(stateLog)) === null) return null;
    return runsOf(pipeline.name, number, stateLog, admin);
  };
  const numbers = Array.from({ length: generation + GENERATIONS_AHEAD }, (_, index) => index + 1);
  await Promise.all(numbers.filter((number) => number !== generation).map(look));
}
