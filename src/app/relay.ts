/**
 * Owns putting the relay together: what changes made through the API owe to topics is carried there by one process of
 * those that serve the API. Neighbours: `analyst-side.ts` starts it, `rollout.ts` reads what tasks answer.
 */
import type { Database } from '../adapters/postgres/database.js';
import { PostgresOutbox } from '../adapters/postgres/outbox-table.js';
import { OutboxRelay } from '../fraud/outbox/relay.js';
import type { LogBackend } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import type { Closers } from './closers.js';
import type { Configuration } from './configuration/index.js';
import type { OwedWork } from './owed-work.js';

interface RelaySurroundings {
  readonly configuration: Configuration;
  readonly backend: LogBackend;
  readonly closers: Closers;
  /** Gets the relay's start. */
  readonly owed: OwedWork;
  say(level: 'info' | 'warn', message: string): void;
}

/** Relays once the database is there; trouble is logged and retried. */
export function makeRelay(
  { configuration, backend, closers, owed, say }: RelaySurroundings,
  database: Database,
): OutboxRelay {
  const relay = new OutboxRelay({
    outbox: new PostgresOutbox(database.dataSource),
    backend,
    taskId: `${configuration.pipeline.name}-outbox`,
    stateLogTopic: configuration.topics.outboxLog,
    clock: systemClock,
    onTrouble: (error, retryInMs) =>
      say('warn', `publishing changes: ${error.message}; trying again in ${retryInMs} ms`),
  });
  owed.add(async () => relay.start());
  closers.add('relay', () => relay.stop());
  return relay;
}
