/**
 * Owns putting the roll-out view together: what tasks tell of the rules they run, for the API, and rules that tripped,
 * for the rule book. Neighbour: `analyst-side.ts` starts it.
 */
import type { RuleTrip } from '../fraud/rules/rollout.js';
import { RolloutReader } from '../fraud/rules/rollout-view.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import type { Closers } from './closers.js';
import type { Configuration } from './configuration/index.js';

interface RolloutSurroundings {
  readonly configuration: Configuration;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly closers: Closers;
  say(level: 'info' | 'warn', message: string): void;
}

/** Starts to read; trouble is logged and retried. `onTrip` is `RuleBook.pauseTripped`. */
export function startRolloutView(
  { configuration, backend, admin, closers, say }: RolloutSurroundings,
  onTrip: (trip: RuleTrip) => Promise<unknown>,
): RolloutReader {
  const { topics, pipeline } = configuration;
  const view = new RolloutReader({
    topic: topics.rollouts,
    pipeline: pipeline.name,
    backend,
    clock: systemClock,
    sourcePartitions: () => admin.partitionCount(topics.payments),
    onTrip,
    onTrouble: (error, retryInMs) =>
      say('warn', `roll-out: ${error.message}${retryInMs === null ? '' : `; trying again in ${retryInMs} ms`}`),
  });
  view.start();
  closers.add('roll-out view', () => view.stop());
  return view;
}
