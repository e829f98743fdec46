/**
 * Owns every metric: its name, unit, labels and meaning, in one typed table. Names carry their unit as Prometheus
 * wants it (`_seconds`, `_bytes`, `_total`). Neighbours: `collect-metrics.ts` fills them from what the parts tell,
 * `metrics.controller.ts` serves them.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

function counter<const L extends readonly string[]>(name: string, help: string, labels: L) {
  return { type: 'counter', name, help, labels } as const;
}
function gauge<const L extends readonly string[]>(name: string, help: string, labels: L) {
  return { type: 'gauge', name, help, labels } as const;
}

const TASK = ['task'] as const;

/** The registry's table. Label values are bounded: tasks and partitions by the source, rules and counters by the code. */
export const METRICS = {
  records: counter('fraud_records_total', 'Records read from the source', TASK),
  payments: counter('fraud_payments_total', 'Payments processed: records that were no dead letters', TASK),
  deadLetters: counter('fraud_dead_letters_total', 'Records that became dead letters', TASK),
  alerts: counter('fraud_alerts_total', 'Alerts made', TASK),
  late: counter('fraud_late_payments_total', 'Payments whose event time lay behind the watermark', TASK),
  decisions: counter('fraud_decisions_total', 'Payments decided, by decision', ['decision']),
  ruleFirings: counter('fraud_rule_firings_total', 'Payments that a rule fired for', ['rule']),
  stepCounts: counter('fraud_step_count_total', "Steps' own counters, by name", ['counter']),
  sourceLag: gauge('fraud_source_lag_records', "Records between what is committed and the source's end", [
    'task',
    'partition',
  ]),
  firstStageRecords: counter('fraud_first_stage_records_total', 'Records read by the stage that keys payments', TASK),
  firstStageDeadLetters: counter('fraud_first_stage_dead_letters_total', 'Those that became dead letters there', TASK),
  firstStageLag: gauge('fraud_first_stage_lag_records', "Records between what it has passed on and its source's end", [
    'task',
    'partition',
  ]),
  epoch: gauge('fraud_epoch', 'The last epoch committed', TASK),
  epochLatency: gauge('fraud_epoch_latency_seconds', 'Epoch decoded to committed, over the last some hundred epochs', [
    'task',
    'quantile',
  ]),
  watermarkLag: gauge('fraud_watermark_lag_seconds', 'How far event time is behind the wall clock', TASK),
  checkpointAge: gauge('fraud_checkpoint_age_seconds', 'Since the last checkpoint completed', TASK),
  checkpointDuration: gauge('fraud_checkpoint_duration_seconds', 'What the last checkpoint took', TASK),
  checkpointSize: gauge('fraud_checkpoint_size_bytes', 'Size of the last checkpoint', TASK),
  checkpointFailures: counter('fraud_checkpoint_failures_total', 'Checkpoints that failed', TASK),
  hotKeys: gauge('fraud_hot_keys', 'Keys held in memory', TASK),
  dirtyKeys: gauge('fraud_dirty_keys', 'Keys in memory that are not yet in the store', TASK),
  pendingTimers: gauge('fraud_pending_timers', 'Timers that wait for their event time', TASK),
  recoveries: counter('fraud_task_recoveries_total', 'Recoveries from the state log', TASK),
  taskState: gauge('fraud_task_state', '1 for the state that the task is in', ['task', 'state']),
  standbyLag: gauge('fraud_standby_lag_records', 'Records of the state log that a standby has yet to apply', TASK),
  standbyState: gauge('fraud_standby_state', '1 for the state that the standby is in', ['task', 'state']),
  workerHeap: gauge(
    'fraud_worker_heap_bytes',
    'Memory of a worker thread as V8 counts it: used and total (pages held) of the heap, its limit, and external (buffers and columns, outside the heap)',
    ['worker', 'kind'],
  ),
  workerRestarts: counter('fraud_worker_restarts_total', 'Restarts of a worker thread', ['worker']),
  pipelineInfo: gauge('fraud_pipeline_info', '1, with what runs here', ['name', 'version', 'backend']),
  generation: gauge(
    'fraud_pipeline_generation',
    'Generation of the pipeline that runs here, and the savepoint it began with',
    ['seeded_from'],
  ),
  projectorLag: gauge('fraud_projector_lag_records', "Records between what is stored and the alerts topic's end", [
    'partition',
  ]),
  projectorStored: counter('fraud_projector_alerts_stored_total', 'Alerts stored in the database', []),
  projectorRepeated: counter('fraud_projector_alerts_repeated_total', 'Alerts read that were stored before', []),
  projectorUnreadable: counter('fraud_projector_unreadable_total', 'Records kept aside because they hold no alert', []),
  projectorState: gauge('fraud_projector_state', '1 for the state that the projector is in', ['state']),
  relayLag: gauge('fraud_outbox_lag_messages', 'Changes made through the API that wait to be published', []),
  relayWaiting: gauge('fraud_outbox_oldest_waiting_seconds', 'How long the oldest of them has waited', []),
  relayed: counter('fraud_outbox_relayed_total', 'Messages of changes published', []),
  relayState: gauge('fraud_outbox_relay_state', '1 for the state that the relay is in', ['state']),
  httpDuration: {
    type: 'histogram',
    name: 'fraud_http_request_duration_seconds',
    help: 'Requests answered by the API',
    labels: ['method', 'route', 'status'],
  },
} as const satisfies Record<string, MetricDefinition>;

type Metrics = typeof METRICS;
type LabelOf<D extends MetricDefinition> = D['labels'][number];
type MetricOf<D extends MetricDefinition> = D['type'] extends 'counter'
  ? Counter<LabelOf<D>>
  : D['type'] extends 'gauge'
    ? Gauge<LabelOf<D>>
    : Histogram<LabelOf<D>>;

export type MetricSet = { readonly [K in keyof Metrics]: MetricOf<Metrics[K]> };

const HTTP_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Makes all metrics, the process's own among them, in a registry of their own. */
export function makeMetrics(): { readonly registry: Registry; readonly metrics: MetricSet } {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const make = ({ type, name, help, labels }: MetricDefinition) => {
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (type === 'counter') return new Counter(options);
    if (type === 'gauge') return new Gauge(options);
    return new Histogram({ ...options, buckets: HTTP_BUCKETS_SECONDS });
  };
  const metrics = Object.fromEntries(Object.entries(METRICS).map(([key, definition]) => [key, make(definition)]));
  return { registry, metrics: metrics as unknown as MetricSet };
}
