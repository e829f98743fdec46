/**
 * Owns telling kafkajs's errors as ours: it wraps the broker's reason in aggregates and in "retries exceeded".
 * Neighbours: `admin.ts`, the only user of kafkajs; `errors.ts`, what they become.
 */
import { KafkaError, refused } from './errors.js';

interface KafkajsLike extends Error {
  readonly code?: number | string;
  readonly errors?: readonly unknown[];
  readonly cause?: unknown;
  readonly originalError?: unknown;
}

/** The innermost reason of an error of kafkajs. */
function innermost(error: unknown, depth = 0): unknown {
  const { errors, cause, originalError } = error as KafkajsLike;
  const inner = errors?.[0] ?? originalError ?? cause;
  return inner instanceof Error && depth < 5 ? innermost(inner, depth + 1) : error;
}

/** `request` and `place` as in {@link refused}. */
export function toldByKafkajs(error: unknown, request: string, place: string): Error {
  if (error instanceof KafkaError) return error;
  const reason = innermost(error) as KafkajsLike;
  if (typeof reason.code === 'number')
    return refused(reason.code, request, place, { message: reason.message, cause: error });
  return new KafkaError(
    'kafka-unreachable',
    `${request} to ${place} failed: ${reason.message}; check that the brokers run and that brokers, TLS and SASL settings are right`,
    { cause: error },
  );
}
