/**
 * Owns `fraud savepoint`: takes savepoints of a pipeline that runs or stands, lists, verifies and deletes them. Needs the
 * log for taking one, and no database. Neighbours: `app/savepoints.ts` does the work; `rescale.ts` takes its own.
 */
import type { LogBackend } from '../stream/ports.js';
import { type Command, type Invocation, type Surroundings, UsageError, withBackend } from './command.js';
import { asStopped, mebibytes, whole } from './wording.js';

export const savepointCommand: Command = {
  name: 'savepoint',
  words: 'create [NAME] | list | verify NAME | delete NAME',
  summary:
    'Keep the pipeline’s state and offsets under a name, to upgrade, move or go back. The service may run meanwhile.',
  flags: {
    yes: { kind: 'switch', doc: 'delete: yes, delete it.' },
  },
  examples: [
    'fraud savepoint create before-upgrade --kafka 127.0.0.1:9092',
    'fraud savepoint list --savepoints-directory s3://bucket/savepoints',
    'fraud savepoint verify before-upgrade',
    'fraud start --from-savepoint before-upgrade',
  ],
  run: async (invocation, surroundings) => {
    const [action, name, ...more] = invocation.words;
    const act = { create, list, verify, delete: remove }[action ?? ''];
    if (act === undefined || more.length > 0) {
      throw new UsageError('Say create [NAME], list, verify NAME or delete NAME. See: fraud savepoint --help');
    }
    if (name === undefined && (act === verify || act === remove)) {
      throw new UsageError(`Which one? fraud savepoint ${action} NAME; fraud savepoint list shows them.`);
    }
    return act(invocation, surroundings, name);
  },
};

async function open({ configuration }: Invocation) {
  const { openObjects } = await import('../app/objects.js');
  const { savepointPlace } = await import('../app/savepoints.js');
  const { Savepoints } = await import('../stream/checkpoint/savepoints.js');
  const objects = await openObjects(savepointPlace(configuration), configuration);
  return { objects, savepoints: new Savepoints(objects) };
}

const create = (invocation: Invocation, surroundings: Surroundings, name?: string): Promise<number> =>
  withBackend(invocation, surroundings, { makeMissing: false }, (backend) =>
    createWith(backend, invocation, surroundings, name),
  );

async function createWith(
  backend: LogBackend,
  invocation: Invocation,
  surroundings: Surroundings,
  name?: string,
): Promise<number> {
  const { print, tell, clock, signal } = surroundings;
  const { currentGeneration } = await import('../app/generation.js');
  const { detectionOf } = await import('../app/keying.js');
  const { savepointName, takeSavepoint } = await import('../app/savepoints.js');
  const configuration = detectionOf(invocation.configuration);
  const { objects } = await open(invocation);
  const admin = await backend.openAdmin();
  try {
    if ((await admin.partitionCount(configuration.topics.stateLog)) === null) {
      throw new UsageError(
        `There is no state log ${configuration.topics.stateLog}: the pipeline never ran here. Name its log with --kafka or --data-dir.`,
      );
    }
    const parts = { configuration, backend, admin };
    const generation = await currentGeneration(parts);
    const startedAtMs = clock.monotonic();
    const { pipeline } = configuration;
    const manifest = await asStopped(
      takeSavepoint({
        ...parts,
        generation,
        name: name ?? savepointName(pipeline.name, generation.number, clock.now()),
        objects,
        clock,
        signal,
        onProgress: tell,
      }),
    );
    const seconds = ((clock.monotonic() - startedAtMs) / 1_000).toFixed(1);
    const keys = manifest.tasks.reduce((sum, task) => sum + task.keys, 0);
    const bytes = manifest.tasks.flatMap(({ parts: files }) => files).reduce((sum, file) => sum + file.sizeBytes, 0);
    print(`savepoint ${manifest.name} in ${objects.place}: ${whole(keys)} keys, ${mebibytes(bytes)}, in ${seconds} s`);
    for (const { taskId, resume, keys: taskKeys } of manifest.tasks) {
      const at = resume.epoch < 0 ? 'nothing committed yet' : `epoch ${resume.epoch}, offset ${resume.sourceOffset}`;
      print(
        `  ${taskId}: ${manifest.source.topic}/${taskId.slice(taskId.lastIndexOf('-') + 1)} ${at}, ${whole(taskKeys)} keys`,
      );
    }
    return 0;
  } finally {
    await admin.close();
  }
}

async function list(invocation: Invocation, { print }: Surroundings): Promise<number> {
  const { objects, savepoints } = await open(invocation);
  const found = await savepoints.list();
  for (const savepoint of found) {
    if (savepoint.state === 'unfinished') print(`${savepoint.name}  unfinished: ${savepoint.files} files`);
    else if (savepoint.state === 'corrupt') print(`${savepoint.name}  cannot be used: ${savepoint.problem}`);
    else {
      const { name, createdAtMs, pipeline, pipelineVersion, generation, partitions, layout, keys, sizeBytes } =
        savepoint;
      print(
        `${name}  ${new Date(createdAtMs).toISOString()}  ${pipeline} version ${pipelineVersion}, generation ${generation}, ` +
          `${partitions} tasks, ${layout.name} state version ${layout.version}, ${whole(keys)} keys, ${mebibytes(sizeBytes)}`,
      );
    }
  }
  print(found.length === 1 ? `1 savepoint in ${objects.place}` : `${found.length} savepoints in ${objects.place}`);
  return 0;
}

async function verify(invocation: Invocation, { print }: Surroundings, name = ''): Promise<number> {
  const { savepoints } = await open(invocation);
  const { parts, unknown, isWhole, manifest } = await savepoints.verify(name);
  for (const part of parts) if (part.problem !== null) print(`bad: ${part.problem}`);
  for (const file of unknown) print(`left over, and harmless: ${file}`);
  const keys = parts.reduce((sum, part) => sum + part.keys, 0);
  const bytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  print(
    isWhole
      ? `savepoint ${name} is whole: ${parts.length} files, ${whole(keys)} keys, ${mebibytes(bytes)}, ${manifest.tasks.length} tasks`
      : `savepoint ${name} cannot be used: ${parts.filter(({ problem }) => problem !== null).length} of ${parts.length} files are bad`,
  );
  return isWhole ? 0 : 1;
}

async function remove(invocation: Invocation, { print }: Surroundings, name = ''): Promise<number> {
  if (!invocation.flags.has('yes')) {
    throw new UsageError(`This cannot be taken back. To delete it: fraud savepoint delete ${name} --yes`);
  }
  const { objects, savepoints } = await open(invocation);
  const files = await savepoints.delete(name);
  print(`savepoint ${name} deleted from ${objects.place}: ${files} files`);
  return 0;
}
