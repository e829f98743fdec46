/**
 * Owns filling the metrics from what pipeline, projector and relay tell, at every scrape: nothing is counted twice, and a task
 * that left this process leaves no series behind. Neighbours: `metrics.ts` has the table.
 */
import type { ProjectorStatus } from '../../fraud/cases/projection.js';
import type { RelayStatus } from '../../fraud/outbox/relay.js';
import type { PipelineStatus, TaskStatus, ThreadMemory } from '../../stream/runtime/status.js';
import type { MetricSet } from './metrics.js';
import { standbyLag, taskLag } from './pipeline-view.js';

const RULE_COUNTER = 'rules.fired.';
const DECISION_COUNTER = 'decisions.';

/** Sets every metric but the HTTP ones. Counters are set to what the source counted; a restart shows as a reset. */
export function collectMetrics(
  metrics: MetricSet,
  pipeline: PipelineStatus | null,
  projector: ProjectorStatus | null,
  relay: RelayStatus | null,
  nowMs: number,
): void {
  const { httpDuration: _, ...collected } = metrics;
  for (const metric of Object.values(collected)) metric.reset();
  if (pipeline !== null) collectPipeline(metrics, pipeline, nowMs);
  if (projector !== null) collectProjector(metrics, projector);
  if (relay !== null) collectRelay(metrics, relay, nowMs);
}

function collectPipeline(metrics: MetricSet, pipeline: PipelineStatus, nowMs: number): void {
  const { name, version, backend } = pipeline;
  metrics.pipelineInfo.set({ name, version, backend }, 1);
  metrics.generation.set({ seeded_from: pipeline.seededFrom ?? '' }, pipeline.generation);
  for (const { worker, restarts, memory } of pipeline.workers) {
    metrics.workerRestarts.inc({ worker: String(worker) }, restarts);
    if (memory !== null) collectWorkerMemory(metrics, String(worker), memory);
  }
  for (const standby of pipeline.standbys) {
    metrics.standbyLag.set({ task: standby.taskId }, standbyLag(standby));
    metrics.standbyState.set({ task: standby.taskId, state: standby.state }, 1);
  }
  for (const task of pipeline.tasks) {
    collectTask(metrics, task, nowMs);
    collectCounters(metrics, task);
  }
  for (const task of pipeline.firstStage ?? []) collectFirstStage(metrics, task);
}

function collectWorkerMemory(metrics: MetricSet, worker: string, memory: ThreadMemory): void {
  metrics.workerHeap.set({ worker, kind: 'used' }, memory.heapUsedBytes);
  metrics.workerHeap.set({ worker, kind: 'total' }, memory.heapTotalBytes);
  metrics.workerHeap.set({ worker, kind: 'limit' }, memory.heapLimitBytes);
  metrics.workerHeap.set({ worker, kind: 'external' }, memory.externalBytes);
}

/** Apart from detection's tasks: a payment that both stages read is not to be counted twice. */
function collectFirstStage(metrics: MetricSet, status: TaskStatus): void {
  const task = { task: status.taskId };
  metrics.firstStageRecords.inc(task, status.records);
  metrics.firstStageDeadLetters.inc(task, status.deadLetters);
  metrics.firstStageLag.set({ ...task, partition: String(status.partition) }, taskLag(status));
  metrics.recoveries.inc(task, status.recoveries);
  metrics.taskState.set({ ...task, state: status.state }, 1);
}

function collectTask(metrics: MetricSet, status: TaskStatus, nowMs: number): void {
  const task = { task: status.taskId };
  metrics.records.inc(task, status.records);
  metrics.payments.inc(task, Math.max(0, status.records - status.deadLetters));
  metrics.deadLetters.inc(task, status.deadLetters);
  metrics.alerts.inc(task, status.alerts);
  metrics.late.inc(task, status.late);
  metrics.recoveries.inc(task, status.recoveries);
  metrics.sourceLag.set({ ...task, partition: String(status.partition) }, taskLag(status));
  metrics.epoch.set(task, status.epoch);
  metrics.epochLatency.set({ ...task, quantile: '0.5' }, status.epochLatencyMs.p50 / 1000);
  metrics.epochLatency.set({ ...task, quantile: '0.99' }, status.epochLatencyMs.p99 / 1000);
  metrics.epochLatency.set({ ...task, quantile: '1' }, status.epochLatencyMs.max / 1000);
  if (status.watermarkMs > 0) metrics.watermarkLag.set(task, (nowMs - status.watermarkMs) / 1000);
  metrics.hotKeys.set(task, status.hotKeys);
  metrics.dirtyKeys.set(task, status.dirtyKeys);
  metrics.pendingTimers.set(task, status.pendingTimers);
  metrics.taskState.set({ ...task, state: status.state }, 1);
  const { completedAt, durationMs, sizeBytes, failures } = status.checkpoint;
  metrics.checkpointFailures.inc(task, failures);
  if (completedAt !== null) metrics.checkpointAge.set(task, (nowMs - completedAt) / 1000);
  if (durationMs !== null) metrics.checkpointDuration.set(task, durationMs / 1000);
  if (sizeBytes !== null) metrics.checkpointSize.set(task, sizeBytes);
}

function collectCounters(metrics: MetricSet, { counters }: TaskStatus): void {
  for (const [counter, value] of Object.entries(counters)) {
    if (counter.startsWith(RULE_COUNTER)) metrics.ruleFirings.inc({ rule: counter.slice(RULE_COUNTER.length) }, value);
    else if (counter.startsWith(DECISION_COUNTER)) {
      metrics.decisions.inc({ decision: counter.slice(DECISION_COUNTER.length) }, value);
    } else metrics.stepCounts.inc({ counter }, value);
  }
}

function collectProjector(metrics: MetricSet, projector: ProjectorStatus): void {
  metrics.projectorStored.inc(projector.stored);
  metrics.projectorRepeated.inc(projector.repeated);
  metrics.projectorUnreadable.inc(projector.unreadable);
  metrics.projectorState.set({ state: projector.state }, 1);
  for (const { partition, nextOffset, endOffset } of projector.partitions) {
    metrics.projectorLag.set({ partition: String(partition) }, Math.max(0, endOffset - Math.max(0, nextOffset)));
  }
}

/** Lag is told by the process that relays alone: summed over processes it counts once. */
function collectRelay(metrics: MetricSet, { state, lag, waitingSince, relayed }: RelayStatus, nowMs: number): void {
  metrics.relayState.set({ state }, 1);
  metrics.relayed.inc(relayed);
  if (lag === null) return;
  metrics.relayLag.set(lag);
  metrics.relayWaiting.set(waitingSince === null ? 0 : Math.max(0, nowMs - waitingSince) / 1000);
}
