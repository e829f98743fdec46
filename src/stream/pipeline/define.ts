/**
 * Owns the words in which a pipeline is told: `pipeline(name).source(…).enrich(…).keyBy(…).each(…).perBatch(…).to(…)` builds a
 * {@link PipelineDefinition}, inert data with the steps in order. Wrong orders are type errors.
 */
import type { LayoutFields, StateLayout } from '../state/layout.js';
import type { StepBatch } from './batch.js';
import type {
  BatchStep,
  BroadcastStep,
  DeadLetterLimits,
  EnrichStep,
  KeyedStep,
  PipelineDefinition,
  SourceStep,
} from './pipeline.js';

export interface BoundedOutOfOrderness {
  readonly outOfOrdernessMs: number;
}

/** Event time may run this far out of order before a row counts as late. */
export function boundedOutOfOrderness(bound: { readonly ms: number }): BoundedOutOfOrderness {
  return { outOfOrdernessMs: bound.ms };
}

/** Begins a pipeline. `name` is part of task ids and transactional ids: it never changes while state is to be kept. */
export function pipeline(name: string, options: { readonly version: string }) {
  return {
    source: <B extends StepBatch>(
      source: SourceStep<B>,
      { watermark }: { readonly watermark: BoundedOutOfOrderness },
    ) =>
      new Unkeyed<B>({ name, version: options.version, source, outOfOrdernessMs: watermark.outOfOrdernessMs }, [], []),
  };
}

interface Head<B extends StepBatch> {
  readonly name: string;
  readonly version: string;
  readonly source: SourceStep<B>;
  readonly outOfOrdernessMs: number;
}

class Unkeyed<B extends StepBatch> {
  constructor(
    private readonly head: Head<B>,
    private readonly enrichSteps: readonly EnrichStep<B>[],
    private readonly broadcasts: readonly BroadcastStep[],
  ) {}

  /** Completes rows from elsewhere, asynchronously, while the batch before is processed. */
  enrich(step: EnrichStep<B>): Unkeyed<B> {
    return new Unkeyed(this.head, [...this.enrichSteps, step], this.broadcasts);
  }

  /** Gives every task the newest values of a compacted topic, changed at epoch boundaries alone. */
  join(broadcast: BroadcastStep): Unkeyed<B> {
    return new Unkeyed(this.head, this.enrichSteps, [...this.broadcasts, broadcast]);
  }

  /** From here on steps see the state of the row's key; the source's decoder says which bytes the key is. */
  keyBy<F extends LayoutFields>(layout: StateLayout<F>): Keyed<B, F> {
    return new Keyed({ ...this.head, enrich: this.enrichSteps, broadcasts: this.broadcasts, layout }, []);
  }
}

type KeyedHead<B extends StepBatch, F extends LayoutFields> = Omit<
  PipelineDefinition<B, F>,
  'keyed' | 'batchSteps' | 'deadLetters'
>;

class Keyed<B extends StepBatch, F extends LayoutFields> {
  constructor(
    private readonly head: KeyedHead<B, F>,
    private readonly keyed: readonly KeyedStep<B, F>[],
  ) {}

  /** A step that runs row by row with the key's state. */
  each(step: KeyedStep<B, F>): Keyed<B, F> {
    return new Keyed(this.head, [...this.keyed, step]);
  }

  /** A step that runs once a batch; keyed steps end here. */
  perBatch(step: BatchStep<B>): Batched<B, F> {
    return new Batched({ ...this.head, keyed: this.keyed }, [step]);
  }
}

class Batched<B extends StepBatch, F extends LayoutFields> {
  constructor(
    private readonly head: Omit<PipelineDefinition<B, F>, 'batchSteps' | 'deadLetters'>,
    private readonly batchSteps: readonly BatchStep<B>[],
  ) {}

  perBatch(step: BatchStep<B>): Batched<B, F> {
    return new Batched(this.head, [...this.batchSteps, step]);
  }

  /** Ends the pipeline: where records go that no step could read. */
  deadLettersTo(topic: string, limits: DeadLetterLimits): PipelineDefinition<B, F> {
    return { ...this.head, batchSteps: this.batchSteps, deadLetters: { topic, limits } };
  }
}
