/** Owns the settings that the reference service gets on its command line, as one JSON argument. */
import type { ReferenceTopics } from './reference-pipeline.js';

export interface ReferenceSettings {
  readonly brokers: readonly string[];
  readonly topics: ReferenceTopics & { readonly stateLog: string };
  readonly run: string;
  readonly directory: string;
  readonly model: string;
  readonly threshold: number;
  readonly workers: number;
}
