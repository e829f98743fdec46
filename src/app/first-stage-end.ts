/**
 * Owns the end of the first stage together with the generation that it writes for. It keeps no state by card, so its
 * state logs outlive generations; but what it still passed on to the topic of one that is over, nobody would read.
 * Neighbours: `rescale.ts` fences, `repartition-entry.ts` binds its tasks.
 *
 * E1 A first-stage task commits only what it began before detection's seals were readable, and `fenceFirstStage` cuts that
 *    off: whoever takes a task over later, a process that slept included, looks for the seal once it owns it, and ends.
 */
import { cardRepartitionName } from '../fraud/repartition.js';
import { generationOver, readSeal } from '../stream/checkpoint/seal.js';
import { ownerIdOf, taskIdOf } from '../stream/pipeline/pipeline.js';
import type { LogBackend } from '../stream/ports.js';
import { type Generation, type LogParts, openTaskLog } from './generation.js';
import { repartitionLogOf, repartitionLogsOf } from './repartition-task.js';

/**
 * Takes over every first-stage task that there ever was, once the tasks of `sealed` are sealed: nothing more comes to the
 * topic that they read. Returns how many tasks. Nothing is to do where there is no first stage.
 */
export async function fenceFirstStage(
  { backend, admin, configuration }: LogParts,
  sealed: Generation,
): Promise<number> {
  const { pipeline, topics } = configuration;
  const names = await admin.names();
  const logs = names.filter((name) => name.startsWith(repartitionLogsOf(topics.stateLog)));
  if (logs.length === 0) return 0;
  await untilReadable(backend, pipeline.name, sealed);
  let fenced = 0;
  for (const [stateLog, topic] of sourcesOf(topics.stateLog, logs, names)) {
    const partitions = (await admin.partitionCount(stateLog)) ?? 0;
    const name = cardRepartitionName(pipeline.name, topic);
    for (let partition = 0; partition < partitions; partition++, fenced++) {
      const log = await backend.openEpochLog({
        taskId: taskIdOf(name, partition),
        ownerId: ownerIdOf(name, 1, partition),
        stateLog: { topic: stateLog, partition },
      });
      await log.fence().finally(() => log.close());
    }
  }
  return fenced;
}

/** A log whose tasks look, each time they have taken themselves over, whether `generation` still runs (E1). */
export function boundToGeneration(backend: LogBackend, pipelineName: string, generation: Generation): LogBackend {
  const expectOpen = async (taskId: string) => {
    // The first one is sealed first and opened again last.
    const log = await openTaskLog(backend, pipelineName, generation, 0);
    const seal = await readSeal(log).finally(() => log.close());
    if (seal !== null) throw generationOver(taskId, seal);
  };
  return {
    kind: backend.kind,
    openReader: (options) => backend.openReader(options),
    openWriter: () => backend.openWriter(),
    openAdmin: () => backend.openAdmin(),
    openAssignment: (options) => backend.openAssignment(options),
    close: () => backend.close(),
    openEpochLog: async (options) => {
      const log = await backend.openEpochLog(options);
      return {
        maxRecordBytes: log.maxRecordBytes,
        fence: async () => {
          await log.fence();
          await expectOpen(options.taskId);
        },
        commit: (writes) => log.commit(writes),
        stateLogRange: () => log.stateLogRange(),
        readStateLog: (fromOffset, onRecord) => log.readStateLog(fromOffset, onRecord),
        truncateStateLog: (offset) => log.truncateStateLog(offset),
        close: () => log.close(),
      };
    },
  };
}

/** A seal may be committed and not be readable yet; after `fence` it is. */
async function untilReadable(backend: LogBackend, pipelineName: string, sealed: Generation): Promise<void> {
  const log = await openTaskLog(backend, pipelineName, sealed, 0);
  await log.fence().finally(() => log.close());
}

/** Source topic by state log: of topics there are, and of those that were deleted, whose names the logs still tell. */
function sourcesOf(stateLog: string, logs: readonly string[], names: readonly string[]): ReadonlyMap<string, string> {
  const told = logs.map((log) => log.slice(repartitionLogsOf(stateLog).length));
  const known = new Set(logs);
  const pairs = [...told, ...names].map((topic): [string, string] => [repartitionLogOf(stateLog, topic), topic]);
  return new Map(pairs.filter(([log]) => known.has(log)));
}
