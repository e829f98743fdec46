/**
 * Owns the port through which writer schemas come: a registry gives each schema a number, messages carry that number.
 * Neighbours: `decode-avro.ts` asks, `src/adapters/schema-registry` answers; `schema-source-cache.ts` is what every
 * source is built on. `test/contract/schema-registry.contract.ts` is the contract.
 */
import { StreamError } from '../../stream/errors.js';

/** What the registry says of an id. All three are final answers; trouble in getting one is an error instead. */
export type SchemaAnswer =
  /** An Avro schema as JSON, whatever it refers to written out in it. */
  | { readonly kind: 'schema'; readonly text: string }
  /** The registry knows no such id. */
  | { readonly kind: 'unknown' }
  /** There is something under the id, but no Avro schema of bearable size. */
  | { readonly kind: 'unusable'; readonly reason: string };

export interface SchemaSource {
  /** What is known of an id without waiting; null where it must be fetched first. Known schemas never change. */
  peek(id: number): SchemaAnswer | null;
  /**
   * Asks for an id; the answer can be peeked at from then on, unless so many others come that it is forgotten.
   * Calls for the same id share one request. Settles within the source's time-out.
   * Errors: {@link RegistryUnavailableError}, {@link RegistryDeniedError}.
   */
  fetch(id: number): Promise<SchemaAnswer>;
  close(): Promise<void>;
}

/** The registry cannot be reached, or cannot answer now. Asking again later can help. */
export class RegistryUnavailableError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('registry-unavailable', message, options);
  }
}

/** The registry does not let us in. Asking again does not help. */
export class RegistryDeniedError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('registry-denied', message, options);
  }
}
