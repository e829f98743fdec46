/**
 * Owns the assignment of a log that one process has to itself: it is given every unit, and no standby. Topics and
 * partitions that are added are found within the discovery interval. Neighbours: the embedded log and the one in memory
 * say which topics there are; the supervisor follows.
 */
import type { Assignment, AssignmentOptions, Clock, SourcePartition } from './ports.js';
import { matchingTopics, unitName, unitsOf } from './source-partition.js';

type Handlers = Parameters<Assignment['join']>[0];

const DISCOVERY_MS = 30_000;

export interface SoleAssignmentParts {
  readonly options: AssignmentOptions;
  readonly clock: Clock;
  /** Partitions by topic, as the log has them now. */
  topics(): ReadonlyMap<string, number>;
  /** The error for a topic that is named and is not there. */
  missing(topic: string): Error;
}

export class SoleAssignment implements Assignment {
  private left = false;
  private cancelLook: () => void = () => {};
  private given: readonly SourcePartition[] = [];
  private looking: Promise<void> = Promise.resolve();

  constructor(private readonly parts: SoleAssignmentParts) {}

  async join(handlers: Handlers): Promise<void> {
    const { options, missing } = this.parts;
    const topics = this.parts.topics();
    const gone = 'topics' in options.source ? options.source.topics.find((topic) => !topics.has(topic)) : undefined;
    if (gone !== undefined) throw missing(gone);
    this.given = this.found(topics);
    await handlers.onAssigned({ active: this.given, standby: [] });
    this.lookLater(handlers);
  }

  async leave(): Promise<void> {
    this.left = true;
    this.cancelLook();
    await this.looking;
  }

  private lookLater(handlers: Handlers): void {
    if (this.left) return;
    this.cancelLook = this.parts.clock.schedule(this.parts.options.discoveryMs ?? DISCOVERY_MS, () => {
      this.looking = this.look(handlers).catch((error: unknown) =>
        handlers.onFailed(error instanceof Error ? error : new Error(String(error))),
      );
    });
  }

  private async look(handlers: Handlers): Promise<void> {
    const found = this.found(this.parts.topics());
    const isKnown = new Set(this.given.map(unitName));
    if (found.length !== this.given.length || !found.every((unit) => isKnown.has(unitName(unit)))) {
      this.given = found;
      await handlers.onAssigned({ active: found, standby: [] });
    }
    this.lookLater(handlers);
  }

  /** All units there are now; a topic that was deleted meanwhile has none. */
  private found(topics: ReadonlyMap<string, number>): SourcePartition[] {
    const { source } = this.parts.options;
    const names = 'topics' in source ? source.topics : matchingTopics(source.pattern, topics.keys());
    return names.flatMap((topic) => unitsOf(topic, topics.get(topic) ?? 0));
  }
}
