/**
 * Owns which units there are: the partitions of the topics that are named, or that match a pattern, as the cluster has
 * them now. Neighbours: `membership.ts` shares them out as the leader and asks whether they changed.
 */
import type { SourcePartition, SourceTopics } from '../../../stream/ports.js';
import { compareUnits, matchingTopics, unitName, unitsOf } from '../../../stream/source-partition.js';
import type { Topics } from '../topics.js';

export class Sources {
  private seen: readonly SourcePartition[] = [];

  constructor(
    private readonly cluster: Topics,
    private readonly source: SourceTopics,
  ) {}

  /** Topics known so far. */
  get topics(): readonly string[] {
    return 'topics' in this.source ? this.source.topics : [...new Set(this.seen.map(({ topic }) => topic))];
  }

  /** For messages. */
  get told(): string {
    return 'topics' in this.source ? this.source.topics.join(', ') : `topics that match ${this.source.pattern}`;
  }

  /** All units. Errors: 'kafka-topic-missing' for a topic that is named and is not there, 'kafka-unreachable'. */
  async find(): Promise<readonly SourcePartition[]> {
    if (!('topics' in this.source)) this.seen = await this.matching(this.source.pattern);
    else {
      const views = await Promise.all(this.source.topics.map((topic) => this.cluster.refresh(topic)));
      this.seen = views.flatMap(({ name, partitions }) => unitsOf(name, partitions));
    }
    return this.seen;
  }

  /** As if none had been found: the next look finds all that there are changed. */
  forget(): void {
    this.seen = [];
  }

  /** Whether the cluster has other units than were found last. A named topic that is gone changes nothing. */
  async changed(): Promise<boolean> {
    const now =
      'topics' in this.source ? await this.named(this.source.topics) : await this.matching(this.source.pattern);
    const isSeen = new Set(this.seen.map(unitName));
    return now.length !== this.seen.length || !now.every((unit) => isSeen.has(unitName(unit)));
  }

  private async named(topics: readonly string[]): Promise<SourcePartition[]> {
    const views = await Promise.all(topics.map((topic) => this.cluster.askOnce(topic)));
    return views.flatMap((view, i) =>
      view === null ? this.seen.filter(({ topic }) => topic === topics[i]) : unitsOf(view.name, view.partitions),
    );
  }

  private async matching(pattern: string): Promise<SourcePartition[]> {
    const partitions = await this.cluster.partitionCounts();
    const topics = matchingTopics(pattern, partitions.keys());
    return topics.flatMap((topic) => unitsOf(topic, partitions.get(topic) ?? 0)).sort(compareUnits);
  }
}
