/**
 * Owns `fraud rescale`: brings a pipeline that stands to another number of partitions. Neighbour: `app/rescale.ts`.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LogBackend } from '../stream/ports.js';
import {
  type Command,
  type Invocation,
  type Surroundings,
  textFlag,
  UsageError,
  wholeFlag,
  withBackend,
} from './command.js';
import { asStopped } from './wording.js';

export const rescaleCommand: Command = {
  name: 'rescale',
  words: '--partitions N [--source TOPIC] | --undo',
  summary:
    'Move the state of a stopped pipeline to another number of partitions. Run again after it was cut short, it goes on.',
  flags: {
    partitions: {
      kind: 'value',
      value: 'N',
      doc: 'How many tasks, and partitions of the payments topic. More are added to the topic.',
    },
    source: {
      kind: 'value',
      value: 'TOPIC',
      doc: 'Read this topic from now on, from its start; it has N partitions. The one before must be processed to its end. For fewer partitions, since a topic cannot lose any.',
    },
    undo: { kind: 'switch', doc: 'Take a rescale back that is not complete: the pipeline goes on as it was.' },
    force: { kind: 'switch', doc: 'Do it although somebody seems to run the pipeline; they end with generation-over.' },
  },
  examples: [
    'fraud rescale --partitions 6 --kafka 127.0.0.1:9092 --checkpoint-directory /mnt/checkpoints',
    'fraud rescale --partitions 2 --source payments.two --kafka 127.0.0.1:9092 --checkpoint-directory /mnt/checkpoints',
    'fraud rescale --undo --kafka 127.0.0.1:9092 --checkpoint-directory /mnt/checkpoints',
  ],
  run: async (invocation, surroundings) => {
    if (invocation.words.length > 0) throw new UsageError('It takes flags alone. See: fraud rescale --help');
    const undo = invocation.flags.has('undo');
    if (undo === invocation.flags.has('partitions')) throw new UsageError('Say --partitions N, or --undo.');
    if (!undo) partitionsOf(invocation);
    const release = await alone(invocation);
    try {
      return await withBackend(invocation, surroundings, { makeMissing: false }, (backend) =>
        undo ? takeBack(backend, invocation, surroundings) : run(backend, invocation, surroundings),
      );
    } finally {
      await release();
    }
  },
};

/** Refused before anything is opened or locked. */
function partitionsOf(invocation: Invocation): number {
  return wholeFlag(invocation, 'partitions', 0, 1);
}

/** On the embedded log the lock of the data directory tells whether the service runs, and keeps it from starting. */
async function alone({ configuration }: Invocation): Promise<() => Promise<void>> {
  // Where there is no log none is made, and opening it says so.
  if (configuration.backend !== 'embedded' || !existsSync(join(configuration.dataDir, 'log'))) return async () => {};
  const { openDataDirectory } = await import('../app/data-directory.js');
  const directory = await openDataDirectory(configuration.dataDir);
  return () => directory.close();
}

async function run(backend: LogBackend, invocation: Invocation, surroundings: Surroundings): Promise<number> {
  const { print } = surroundings;
  const { rescale } = await import('../app/rescale.js');
  const request = {
    partitions: partitionsOf(invocation),
    source: textFlag(invocation, 'source'),
    force: invocation.flags.has('force'),
  };
  return withParts(backend, invocation, surroundings, async (parts) => {
    const { before, after, savepoint } = await asStopped(rescale(parts, request));
    if (savepoint === null) {
      print(`nothing to do: generation ${before.number} has ${before.partitions} partitions of ${before.source}`);
      return 0;
    }
    print(
      `rescaled from ${before.partitions} to ${after.partitions} partitions: generation ${after.number} reads ${after.source}, state log ${after.stateLog}, from savepoint ${savepoint}`,
    );
    print('the next start of the service follows; producers may write again');
    return 0;
  });
}

const takeBack = (backend: LogBackend, invocation: Invocation, surroundings: Surroundings): Promise<number> =>
  withParts(backend, invocation, surroundings, async (parts) => {
    const { undoRescale } = await import('../app/rescale.js');
    const generation = await asStopped(undoRescale(parts));
    surroundings.print(
      generation === null
        ? 'nothing to take back: no generation is being made'
        : `taken back: generation ${generation.number} goes on with ${generation.partitions} partitions of ${generation.source}`,
    );
    return 0;
  });

async function withParts(
  backend: LogBackend,
  { configuration }: Invocation,
  { clock, signal, tell }: Surroundings,
  use: (parts: Parameters<typeof import('../app/rescale.js').rescale>[0]) => Promise<number>,
): Promise<number> {
  const { detectionOf } = await import('../app/keying.js');
  const admin = await backend.openAdmin();
  try {
    return await use({ configuration: detectionOf(configuration), backend, admin, clock, signal, onProgress: tell });
  } finally {
    await admin.close();
  }
}
