/**
 * Owns taking savepoints in a schedule, as `src/app/savepoints.ts` does it, and comparing each with the oracle: every
 * task is in it as it was at the epoch that the savepoint says, which is not older than the newest one that could be read
 * when it began.
 */
import { writeSavepoint } from '../../checkpoint/savepoint.js';
import type { SavepointManifest } from '../../checkpoint/savepoint-manifest.js';
import { Savepoints } from '../../checkpoint/savepoints.js';
import { openTaskImage } from '../../checkpoint/task-image.js';
import { StreamError } from '../../errors.js';
import { taskIdOf } from '../../pipeline/pipeline.js';
import type { StateLayout } from '../../state/layout.js';
import { checkSavepoint } from './audit.js';
import { findGeneration, type Generation, openTaskLog, placeOf } from './generation.js';
import { Violation } from './journal.js';
import type { Lineage } from './lineage.js';
import type { Job } from './operator.js';
import { simulatedObjects } from './simulated-objects.js';
import { layout, NAME } from './simulated-pipeline.js';
import type { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

export const savedLayout = layout as unknown as StateLayout;

/** Small, so that a task has several parts. */
const PART_BYTES = 700;
const CUTS = 0.15;

/** Takes one savepoint of the generation that runs. */
export function savepointJob(world: World, lineage: Lineage, name: string): Job {
  return {
    name,
    cuts: CUTS,
    run: async (process) => {
      const { current } = await findGeneration(world, process);
      await takeSavepoint(world, lineage, process, current, `${name}-g${current.number}`);
      return true;
    },
  };
}

/**
 * What an unfinished try left under the name is replaced; a whole savepoint stays. Errors: those of `writeSavepoint` and
 * of images; {@link Violation}.
 */
export async function takeSavepoint(
  world: World,
  lineage: Lineage,
  process: SimulatedProcess,
  generation: Generation,
  name: string,
): Promise<void> {
  const readable = lineage.readableEpochs(generation);
  let manifest: SavepointManifest;
  try {
    manifest = await write(world, process, generation, name);
    for (const { taskId, partition, resume } of manifest.tasks) {
      if (resume.epoch >= readable[partition]) continue;
      throw new Violation(
        'savepoint',
        `${name} has ${taskId} as of epoch ${resume.epoch}, ${readable[partition]} could be read before`,
      );
    }
  } catch (error) {
    if (!(error instanceof StreamError && error.code === 'savepoint-exists')) throw error;
    // Whoever put it died before it was told.
    ({ manifest } = await new Savepoints(world.objects).read(name));
  }
  world.figures.savepoints += 1;
  await checkSavepoint(world, lineage, generation, manifest);
}

function write(
  world: World,
  process: SimulatedProcess,
  generation: Generation,
  name: string,
): Promise<SavepointManifest> {
  const { random, disks, trace } = world;
  const say = (message: string) => trace.note(`${process.name} says: ${message}`);
  const openImage = async (partition: number) => {
    const epochLog = await openTaskLog(world, process, generation, partition);
    try {
      return await openTaskImage({
        taskId: taskIdOf(NAME, partition),
        epochLog,
        snapshots: world.snapshots.over(process, placeOf(world, generation)),
        openStore: disks.openStore(process, process.name),
        disk: disks.local(process),
        directory: `${process.name}/images`,
        layout: savedLayout,
        hotKeys: random.pick([8, 80]),
        clock: process.clock,
        onProgress: say,
        shouldStop: () => false,
      });
    } finally {
      await epochLog.close();
    }
  };
  return writeSavepoint({
    name,
    objects: simulatedObjects(world, process),
    pipeline: NAME,
    pipelineVersion: '1',
    generation: generation.number,
    source: sourceOf(world, generation),
    layout: savedLayout,
    openImage,
    clock: process.clock,
    onProgress: say,
    shouldStop: () => false,
    replaceUnfinished: true,
    partBytes: PART_BYTES,
  });
}

const sourceOf = ({ log }: World, { source, partitions }: Generation) => ({
  topic: source,
  identity: log.partition(source, 0).identity,
  partitions,
});
