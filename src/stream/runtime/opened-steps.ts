/** Owns the opened steps of a task: a pipeline definition brought to life over one session's state. */
import type { StepBatch } from '../pipeline/batch.js';
import type {
  BroadcastState,
  OpenBatchStep,
  OpenEnrichStep,
  OpenKeyedStep,
  PipelineDefinition,
  StepContext,
} from '../pipeline/pipeline.js';
import type { ColumnsOf, LayoutFields } from '../state/layout.js';

export interface OpenedSteps<B extends StepBatch> {
  readonly broadcasts: readonly BroadcastState[];
  readonly enrich: readonly OpenEnrichStep<B>[];
  readonly keyed: readonly OpenKeyedStep<B>[];
  readonly batchSteps: readonly OpenBatchStep<B>[];
}

export async function openSteps<B extends StepBatch, F extends LayoutFields>(
  definition: PipelineDefinition<B, F>,
  context: StepContext,
  columns: ColumnsOf<F>,
): Promise<OpenedSteps<B>> {
  const batchSteps: OpenBatchStep<B>[] = [];
  for (const step of definition.batchSteps) batchSteps.push(await step.open(context));
  return {
    broadcasts: definition.broadcasts.map((step) => step.open(context)),
    enrich: definition.enrich.map((step) => step.open(context)),
    keyed: definition.keyed.map((step) => step.open(context, columns)),
    batchSteps,
  };
}

export async function closeSteps<B extends StepBatch>(steps: OpenedSteps<B>): Promise<void> {
  for (const step of steps.enrich) step.close?.();
  // After the steps that read them.
  for (const state of steps.broadcasts) state.close?.();
  for (const step of steps.batchSteps) await step.close?.();
}
