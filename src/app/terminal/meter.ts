/**
 * Owns the figures that people see, taken from successive looks at the status feed: totals that survive a worker's
 * restart, a rate over the last seconds, its history. Neighbours: `feed.ts` gives, `screen.ts` and `status-line.ts` show.
 */
import type { Alert } from '../../fraud/alerts/alert.js';
import type { PipelineStatus, TaskState, TaskStatus } from '../../stream/runtime/status.js';
import type { ProjectorStatus, StatusFeed } from './feed.js';

/** What is shown of the pipeline at one moment. */
export interface Figures {
  readonly name: string;
  readonly version: string;
  readonly backend: string;
  readonly uptimeMs: number;
  readonly paymentsPerSecond: number;
  /** One value a second, oldest first. */
  readonly rateHistory: readonly number[];
  readonly payments: number;
  readonly alerts: number;
  readonly deadLetters: number;
  readonly late: number;
  readonly lag: number;
  /** Null until an epoch has committed. */
  readonly epochLatencyMs: { readonly p50: number; readonly p99: number } | null;
  /** Since the oldest of the tasks' newest checkpoints; null until every task has one. */
  readonly checkpointAgeMs: number | null;
  readonly rssBytes: number;
  readonly tasks: readonly { readonly partition: number; readonly state: TaskState; readonly error: string | null }[];
  readonly sourcePartitions: number;
  readonly projector: ProjectorStatus | null;
  /** Newest first. */
  readonly recentAlerts: readonly Alert[];
}

const RATE_WINDOW_MS = 3_000;
const HISTORY_LENGTH = 60;
type Counter = 'records' | 'alerts' | 'deadLetters' | 'late';
const COUNTERS: readonly Counter[] = ['records', 'alerts', 'deadLetters', 'late'];

export class Meter {
  readonly #feed: StatusFeed;
  /** What tasks had counted before they began again at 0. */
  readonly #carried: Record<Counter, number> = { records: 0, alerts: 0, deadLetters: 0, late: 0 };
  readonly #lastByTask = new Map<string, TaskStatus>();
  /** Looks within the rate's window, oldest first. */
  #looks: { atMs: number; payments: number }[] = [];
  #history: number[] = [];
  #historyAtMs: number | null = null;

  constructor(feed: StatusFeed) {
    this.#feed = feed;
  }

  /** Takes a look. `nowMs` is the wall clock, `monotonicMs` for rates, `rssBytes` this process's memory. */
  look(nowMs: number, monotonicMs: number, rssBytes: number): Figures {
    const status = this.#feed.status();
    this.#carry(status);
    const payments = this.#total('records');
    const paymentsPerSecond = this.#rate(monotonicMs, payments);
    return {
      name: status.name,
      version: status.version,
      backend: status.backend,
      uptimeMs: nowMs - status.startedAt,
      paymentsPerSecond,
      rateHistory: this.#history,
      payments,
      alerts: this.#total('alerts'),
      deadLetters: this.#total('deadLetters'),
      late: this.#total('late'),
      lag: sum(status.tasks.map((task) => Math.max(0, task.endOffset - task.committedOffset))),
      epochLatencyMs: latencyOf(status.tasks),
      checkpointAgeMs: checkpointAge(status.tasks, nowMs),
      rssBytes,
      tasks: status.tasks.map(({ partition, state, error }) => ({ partition, state, error: error?.message ?? null })),
      sourcePartitions: status.sourcePartitions,
      projector: this.#feed.projector(),
      recentAlerts: this.#feed.recentAlerts(),
    };
  }

  #carry(status: PipelineStatus): void {
    const present = new Set(status.tasks.map((task) => task.taskId));
    for (const [taskId, last] of this.#lastByTask) {
      if (present.has(taskId)) continue;
      for (const counter of COUNTERS) this.#carried[counter] += last[counter];
      this.#lastByTask.delete(taskId);
    }
    for (const task of status.tasks) {
      const last = this.#lastByTask.get(task.taskId);
      if (last !== undefined && task.records < last.records) {
        for (const counter of COUNTERS) this.#carried[counter] += last[counter];
      }
      this.#lastByTask.set(task.taskId, task);
    }
  }

  #total(counter: Counter): number {
    return this.#carried[counter] + sum([...this.#lastByTask.values()].map((task) => task[counter]));
  }

  #rate(monotonicMs: number, payments: number): number {
    this.#looks.push({ atMs: monotonicMs, payments });
    // One look older than the window stays, so that slow lookers have a rate as well.
    while (this.#looks.length > 2 && this.#looks[1].atMs <= monotonicMs - RATE_WINDOW_MS) this.#looks.shift();
    const first = this.#looks[0];
    const seconds = (monotonicMs - first.atMs) / 1_000;
    const rate = seconds <= 0 ? 0 : Math.max(0, (payments - first.payments) / seconds);
    if (this.#historyAtMs === null) this.#historyAtMs = monotonicMs;
    else if (monotonicMs - this.#historyAtMs >= 1_000) {
      this.#history = [...this.#history, rate].slice(-HISTORY_LENGTH);
      this.#historyAtMs = monotonicMs;
    }
    return rate;
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** The slowest task's, so that nothing bad hides in a mean. */
function latencyOf(tasks: readonly TaskStatus[]): { p50: number; p99: number } | null {
  const seen = tasks.map((task) => task.epochLatencyMs).filter((latency) => latency.max > 0);
  if (seen.length === 0) return null;
  return { p50: Math.max(...seen.map(({ p50 }) => p50)), p99: Math.max(...seen.map(({ p99 }) => p99)) };
}

function checkpointAge(tasks: readonly TaskStatus[], nowMs: number): number | null {
  const completed = tasks.map((task) => task.checkpoint.completedAt);
  if (completed.length === 0 || completed.includes(null)) return null;
  return Math.max(0, nowMs - Math.min(...completed.map(Number)));
}
