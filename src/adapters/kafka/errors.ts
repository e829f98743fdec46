/**
 * Owns how trouble with Kafka is told and sorted: {@link KafkaError} names the broker's code, the request and the place,
 * and says what to do; the sets below sort broker codes by what may be done about them.
 * Neighbours: every file of this adapter throws these, or the port's own errors from `src/stream/errors.ts`.
 *
 * Sorting was checked on three replicated brokers under kill -9 and SIGSTOP. What is in no set is not retried.
 */
import { API_ERROR, ConnectionError, KafkaTSApiError } from 'kafka-ts';
import { StreamError } from '../../stream/errors.js';

/** Stable codes of this adapter's own errors. */
export type KafkaErrorCode =
  /** No broker answered, or not within the deadline. */
  | 'kafka-unreachable'
  /** A broker refused a request; `brokerCode` says why. */
  | 'kafka-refused'
  /** An ACL is missing. */
  | 'kafka-denied'
  | 'kafka-topic-missing'
  /** The topic was deleted and made again under the same name while it was read. */
  | 'kafka-topic-remade'
  /** The options do not fit each other or this broker. */
  | 'group-instance-taken'
  /** A pipeline that claims the same name, and is another, holds the group. */
  | 'pipeline-name-taken'
  | 'kafka-options'
  | 'record-too-large'
  | 'kafka-closed';

/** Trouble with Kafka that retrying did not, or cannot, cure. */
export class KafkaError extends StreamError {
  /** The broker's numeric error code, where a broker answered. */
  readonly brokerCode: number | null;

  constructor(code: KafkaErrorCode, message: string, options: { cause?: unknown; brokerCode?: number } = {}) {
    super(code, message, 'cause' in options ? { cause: options.cause } : undefined);
    this.brokerCode = options.brokerCode ?? null;
  }
}

const nameByCode = new Map<number, string>(Object.entries(API_ERROR).map(([name, code]) => [code, name]));

/** `TOPIC_AUTHORIZATION_FAILED (29)`; numbers newer than the client are `error 142`. */
export function brokerErrorName(code: number): string {
  const name = nameByCode.get(code);
  return name === undefined ? `error ${code}` : `${name} (${code})`;
}

/** The request went nowhere, or its answer did not come: repeat where repeating is harmless. */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof ConnectionError) return true;
  return error instanceof KafkaError && error.code === 'kafka-unreachable';
}

/** The broker's code in an error of kafka-ts, or null. */
export function brokerCodeOf(error: unknown): number | null {
  if (error instanceof KafkaTSApiError) return error.errorCode;
  return error instanceof KafkaError ? error.brokerCode : null;
}

/** Another broker leads the partition now, or its leader is not ready: look again, then send the same bytes. */
export const LEADER_MOVED: ReadonlySet<number> = new Set([
  API_ERROR.NOT_LEADER_OR_FOLLOWER,
  API_ERROR.LEADER_NOT_AVAILABLE,
  API_ERROR.FENCED_LEADER_EPOCH,
  API_ERROR.UNKNOWN_LEADER_EPOCH,
  API_ERROR.REPLICA_NOT_AVAILABLE,
  API_ERROR.BROKER_NOT_AVAILABLE,
  API_ERROR.KAFKA_STORAGE_ERROR,
  API_ERROR.OFFSET_NOT_AVAILABLE,
  API_ERROR.UNKNOWN_TOPIC_OR_PARTITION,
  API_ERROR.NETWORK_EXCEPTION,
  API_ERROR.REQUEST_TIMED_OUT,
  API_ERROR.NOT_ENOUGH_REPLICAS,
  API_ERROR.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
]);

/** The coordinator moved or is loading: find it, then ask again. */
export const COORDINATOR_MOVED: ReadonlySet<number> = new Set([
  API_ERROR.NOT_COORDINATOR,
  API_ERROR.COORDINATOR_NOT_AVAILABLE,
  API_ERROR.COORDINATOR_LOAD_IN_PROGRESS,
]);

/** A later owner of the transactional id exists. */
export const FENCED: ReadonlySet<number> = new Set([
  API_ERROR.PRODUCER_FENCED,
  API_ERROR.INVALID_PRODUCER_EPOCH,
  API_ERROR.INVALID_PRODUCER_ID_MAPPING,
  API_ERROR.TRANSACTION_COORDINATOR_FENCED,
]);

const DENIED: ReadonlySet<number> = new Set([
  API_ERROR.TOPIC_AUTHORIZATION_FAILED,
  API_ERROR.GROUP_AUTHORIZATION_FAILED,
  API_ERROR.CLUSTER_AUTHORIZATION_FAILED,
  API_ERROR.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
  API_ERROR.SASL_AUTHENTICATION_FAILED,
]);

const advice = new Map<number, string>([
  [
    API_ERROR.TOPIC_AUTHORIZATION_FAILED,
    'grant this principal Read on input topics, Write on outputs, both on state logs',
  ],
  [API_ERROR.GROUP_AUTHORIZATION_FAILED, 'grant this principal Read on the group'],
  [
    API_ERROR.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    'grant this principal Write on the transactional ids of the prefix',
  ],
  [API_ERROR.CLUSTER_AUTHORIZATION_FAILED, 'grant this principal the cluster operation, or let an operator do it'],
  [API_ERROR.SASL_AUTHENTICATION_FAILED, 'check the user name, the password and the SASL mechanism'],
  [API_ERROR.UNKNOWN_TOPIC_OR_PARTITION, 'make the topic, or correct its name or partition'],
  [API_ERROR.MESSAGE_TOO_LARGE, "raise the topic's max.message.bytes or send less"],
  [API_ERROR.RECORD_LIST_TOO_LARGE, "raise the topic's segment.bytes or send less"],
  [API_ERROR.INVALID_TRANSACTION_TIMEOUT, "keep transactionTimeoutMs within the broker's transaction.max.timeout.ms"],
  [API_ERROR.POLICY_VIOLATION, 'the topic must allow deletion (cleanup.policy=delete), or the cluster policy must'],
  [API_ERROR.INVALID_REPLICATION_FACTOR, 'the cluster has fewer brokers than its default replication factor asks for'],
  [
    API_ERROR.INCONSISTENT_GROUP_PROTOCOL,
    'consumers of another application are members of this group; give the pipeline another name',
  ],
  [API_ERROR.UNSUPPORTED_VERSION, 'use Kafka 2.8 or later'],
]);

/** An error for a broker's refusal: `CODE (number) on Request to place: what to do`. */
export function refused(
  brokerCode: number,
  request: string,
  place: string,
  more: { message?: string | null; cause?: unknown } = {},
): KafkaError {
  const code: KafkaErrorCode = DENIED.has(brokerCode)
    ? 'kafka-denied'
    : brokerCode === API_ERROR.UNKNOWN_TOPIC_OR_PARTITION
      ? 'kafka-topic-missing'
      : brokerCode === API_ERROR.MESSAGE_TOO_LARGE
        ? 'record-too-large'
        : 'kafka-refused';
  const details = [more.message, advice.get(brokerCode)].filter(Boolean).join('; ');
  const message = `${brokerErrorName(brokerCode)} on ${request} to ${place}${details === '' ? '' : `: ${details}`}`;
  return new KafkaError(code, message, { brokerCode, ...('cause' in more ? { cause: more.cause } : {}) });
}

/** Any error of kafka-ts as one of ours; ours pass through. */
export function told(error: unknown, request: string, place: string): Error {
  if (error instanceof StreamError) return error;
  if (error instanceof KafkaTSApiError) {
    return refused(error.errorCode, request, place, { message: error.errorMessage, cause: error });
  }
  const reason = error instanceof Error ? error.message : String(error);
  if (isConnectionLoss(error)) {
    return new KafkaError('kafka-unreachable', `${request} to ${place} got no answer: ${reason}`, { cause: error });
  }
  return new KafkaError('kafka-refused', `${request} to ${place} failed: ${reason}`, { cause: error });
}
