/** Owns the number of the fraud pipeline's behaviour. Apart from `pipeline.ts`, so that whoever only names it loads no pipeline. */

/** Raised whenever what the pipeline computes changes; goes into every alert and dead letter. */
export const PIPELINE_VERSION = '1';
