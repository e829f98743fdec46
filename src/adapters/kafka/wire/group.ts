/**
 * Owns the JoinGroup and SyncGroup requests with a subscription and an assignment of our own making: kafka-ts's leave out
 * what a member owns, and the user data, in which a member says its claim and its standbys and the leader answers.
 * Formats: ConsumerProtocolSubscription, version 2, and ConsumerProtocolAssignment, version 0, so that Kafka's own tools
 * can show them; the user data is JSON.
 */
import { API, KafkaTSApiError } from 'kafka-ts';
import type { Api } from 'kafka-ts/dist/utils/api.js';
import { Decoder } from 'kafka-ts/dist/utils/decoder.js';
import { Encoder } from 'kafka-ts/dist/utils/encoder.js';
import type { SourcePartition } from '../../../stream/ports.js';
import { atMost } from '../links.js';

/** What a member says when it joins. */
export interface Subscription {
  readonly topics: readonly string[];
  /** What the process runs; null says nothing, and agrees with everybody. */
  readonly claim: string | null;
  readonly owned: readonly SourcePartition[];
  readonly standby: readonly SourcePartition[];
  readonly generation: number;
}

/** What the leader gives a member. */
export interface GivenToMember {
  readonly active: readonly SourcePartition[];
  readonly standby: readonly SourcePartition[];
  /** The claim that rules in the group; null where nobody makes one. */
  readonly claim: string | null;
  /** The member claims something else: it is given nothing. */
  readonly refused: boolean;
}

export interface JoinRequest {
  readonly group: string;
  readonly memberId: string;
  /** The name that a member keeps over restarts (KIP-345); null where it has none. */
  readonly instanceId: string | null;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly subscription: Subscription;
  readonly reason: string;
}

export interface SyncRequest {
  readonly group: string;
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly generation: number;
  /** The leader's alone. */
  readonly given: ReadonlyMap<string, GivenToMember>;
}

export type JoinAnswer = Awaited<ReturnType<typeof API.JOIN_GROUP.response>>;
export interface SyncAnswer {
  readonly given: GivenToMember;
}

const PROTOCOL_TYPE = 'consumer';
const PROTOCOL_NAME = 'give-up-then-take';
const SUBSCRIPTION_VERSION = 2;
const ASSIGNMENT_VERSION = 0;

/** Partitions by topic, as user data has them. */
type ByTopic = Readonly<Record<string, readonly number[]>>;

export function encodeSubscription({ topics, claim, owned, standby, generation }: Subscription): Buffer {
  return new Encoder()
    .writeInt16(SUBSCRIPTION_VERSION)
    .writeArray([...topics], (encoder, name) => encoder.writeString(name))
    .writeBytes(Buffer.from(JSON.stringify({ claim, standby: byTopic(standby) })))
    .writeArray(Object.entries(byTopic(owned)), writePartitions)
    .writeInt32(generation)
    .value();
}

/** A member that does not say what it owns (another version) owns nothing; what it adds in a form unknown is left out. */
export function decodeSubscription(bytes: Buffer): Subscription {
  const decoder = new Decoder(bytes);
  const version = decoder.readInt16();
  const topics = decoder.readArray((inner) => inner.readString() ?? '');
  const { claim, standby } = readUserData(decoder.readBytes());
  if (version < SUBSCRIPTION_VERSION) return { topics, claim, owned: [], standby, generation: -1 };
  const owned = unitsOf(Object.fromEntries(decoder.readArray(readPartitions)));
  return { topics, claim, owned, standby, generation: decoder.readInt32() };
}

export function encodeGiven({ active, standby, claim, refused }: GivenToMember): Buffer {
  return new Encoder()
    .writeInt16(ASSIGNMENT_VERSION)
    .writeArray(Object.entries(byTopic(active)), writePartitions)
    .writeBytes(Buffer.from(JSON.stringify({ claim, standby: byTopic(standby), refused })))
    .value();
}

/** Empty bytes are what the broker has for a member that nobody thought of: nothing. */
export function decodeGiven(bytes: Buffer | null): GivenToMember {
  if (bytes === null || bytes.length === 0) return { active: [], standby: [], claim: null, refused: false };
  const decoder = new Decoder(bytes);
  decoder.readInt16();
  const active = unitsOf(Object.fromEntries(decoder.readArray(readPartitions)));
  return { active, ...readUserData(decoder.readBytes()) };
}

function writePartitions(encoder: Encoder, [topic, partitions]: readonly [string, readonly number[]]): Encoder {
  return encoder.writeString(topic).writeArray([...partitions], (inner, partition) => inner.writeInt32(partition));
}

function readPartitions(decoder: Decoder): [string, number[]] {
  return [decoder.readString() ?? '', decoder.readArray((inner) => inner.readInt32())];
}

/** User data of another build or of nobody says nothing. */
function readUserData(bytes: Buffer | null): Omit<GivenToMember, 'active'> {
  const said = parsed(bytes);
  return {
    claim: typeof said.claim === 'string' ? said.claim : null,
    standby: isByTopic(said.standby) ? unitsOf(said.standby) : [],
    refused: said.refused === true,
  };
}

function parsed(bytes: Buffer | null): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(bytes?.toString() ?? '{}');
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function isByTopic(value: unknown): value is ByTopic {
  if (typeof value !== 'object' || value === null) return false;
  return Object.values(value).every(
    (one) => Array.isArray(one) && one.every((partition) => Number.isInteger(partition)),
  );
}

function byTopic(units: readonly SourcePartition[]): ByTopic {
  const partitions: Record<string, number[]> = {};
  for (const { topic, partition } of units) {
    partitions[topic] ??= [];
    partitions[topic].push(partition);
  }
  return partitions;
}

function unitsOf(partitions: ByTopic): SourcePartition[] {
  return Object.entries(partitions).flatMap(([topic, its]) => its.map((partition) => ({ topic, partition })));
}

function joinVersion(apiVersion: number, fallback?: Api<JoinRequest, JoinAnswer>): Api<JoinRequest, JoinAnswer> {
  const { request: _, fallback: __, ...likeTheirs } = atMost(API.JOIN_GROUP, apiVersion);
  return {
    ...likeTheirs,
    ...(fallback === undefined ? {} : { fallback }),
    request: (encoder, join) => {
      encoder
        .writeCompactString(join.group)
        .writeInt32(join.sessionTimeoutMs)
        .writeInt32(join.rebalanceTimeoutMs)
        .writeCompactString(join.memberId)
        .writeCompactString(join.instanceId)
        .writeCompactString(PROTOCOL_TYPE)
        .writeUVarInt(2)
        .writeCompactString(PROTOCOL_NAME)
        .writeCompactBytes(encodeSubscription(join.subscription))
        .writeTagBuffer();
      if (apiVersion >= 8) encoder.writeCompactString(join.reason);
      return encoder.writeTagBuffer();
    },
  };
}

/** Version 9, or 7 on brokers before 3.2. */
export const JOIN_GROUP = joinVersion(9, joinVersion(7));

/** Version 5: since Kafka 2.5. */
export const SYNC_GROUP: Api<SyncRequest, SyncAnswer> = {
  apiKey: API.SYNC_GROUP.apiKey,
  apiVersion: 5,
  requestHeaderVersion: 2,
  responseHeaderVersion: 1,
  request: (encoder, sync) =>
    encoder
      .writeCompactString(sync.group)
      .writeInt32(sync.generation)
      .writeCompactString(sync.memberId)
      .writeCompactString(sync.instanceId)
      .writeCompactString(PROTOCOL_TYPE)
      .writeCompactString(PROTOCOL_NAME)
      .writeCompactArray([...sync.given], (inner, [memberId, given]) =>
        inner.writeCompactString(memberId).writeCompactBytes(encodeGiven(given)).writeTagBuffer(),
      )
      .writeTagBuffer(),
  response: (decoder) => {
    const throttleTimeMs = decoder.readInt32();
    const errorCode = decoder.readInt16();
    decoder.readCompactString();
    decoder.readCompactString();
    const assignment = decoder.readCompactBytes();
    decoder.readTagBuffer();
    // Last of all: an answer that is not read to its end is refused as broken, and its code with it.
    if (errorCode !== 0) throw new KafkaTSApiError(errorCode, null, { throttleTimeMs, errorCode });
    return { given: decodeGiven(assignment) };
  },
};
