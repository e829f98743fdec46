/**
 * Owns this process's membership in a group (classic protocol: its session time-out is the member's to choose). The group
 * only says who runs which partition; offsets live in the state logs (I1).
 * Neighbours: `balance.ts` decides as leader, `wire/group.ts` is the request, `backend.ts` lends the identity to progress.
 *
 *   outside ──join──► joining ──sync──► member ──heartbeat says so, or partitions given up──► joining
 *      ▲                 │                 │
 *      └──── lost: unknown to the group, or no answer for the session time-out ────┘
 *
 * G1 Partitions that stay are not stopped by a rebalance; those that left are given up before joining again.
 * G2 A member that hears nothing for the session time-out drops everything by its own clock. Until then two processes
 *    may run one partition for a while (a paused one): the transactional id fences, membership alone does not.
 * G3 A process that keeps a name over restarts takes its dead predecessor's place at once. Two that live under one name
 *    would throw each other out for ever: the one that is thrown out gives up for good.
 * G4 `onAssigned` runs one at a time; `onLost` does not wait for it.
 */
import { API, API_ERROR } from 'kafka-ts';
import type { Assignment } from '../../../stream/ports.js';
import type { GroupIdentity } from '../admin.js';
import { Coordinator } from '../coordinator.js';
import { brokerCodeOf, brokerErrorName, COORDINATOR_MOVED, isConnectionLoss, KafkaError, told } from '../errors.js';
import { BrokerLinks } from '../links.js';
import type { KafkaSettings } from '../options.js';
import { Topics } from '../topics.js';
import { Backoff, Deadline, monotonicMs, pause } from '../waiting.js';
import { decodeSubscription, JOIN_GROUP, type JoinAnswer, PROTOCOL_NAME, PROTOCOL_TYPE } from '../wire/group.js';
import { balance } from './balance.js';

type Handlers = Parameters<Assignment['join']>[0];

const OUTSIDE = { memberId: '', generation: -1 };
const DISCOVERY_MS = 30_000;
const WATCH_MS = 100;
const LEAVE_DEADLINE_MS = 2_000;
/** Codes that say: the group does not know this member in this generation any more. */
const EXPELLED: ReadonlySet<number> = new Set([API_ERROR.UNKNOWN_MEMBER_ID, API_ERROR.ILLEGAL_GENERATION]);

export class GroupMembership implements Assignment {
  private readonly group: string;
  private readonly topic: string;
  /** Joining waits for other members; heartbeats must not wait behind it, nor for long. */
  private readonly joinLinks: BrokerLinks;
  private readonly beatLinks: BrokerLinks;
  private readonly joinCoordinator: Coordinator;
  private readonly beatCoordinator: Coordinator;
  private readonly topics: Topics;
  private member = OUTSIDE;
  private owned: readonly number[] = [];
  private isLeader = false;
  private partitionsSeen = 0;
  private handlers: Handlers | null = null;
  private running: Promise<void> | null = null;
  private handing: Promise<void> = Promise.resolve();
  private lastAnswerMs = 0;
  private silenceAllowedMs: number;
  private leaving = new AbortController();
  /** Ends the present stay in the group: to join again, or because it is lost. */
  private stay = new AbortController();

  constructor(
    private readonly settings: KafkaSettings,
    options: { readonly group: string; readonly topic: string },
    private readonly onTrouble: (message: string) => void,
  ) {
    this.group = options.group;
    this.topic = options.topic;
    const { sessionTimeoutMs, rebalanceTimeoutMs } = settings;
    this.silenceAllowedMs = sessionTimeoutMs;
    this.joinLinks = new BrokerLinks(settings, rebalanceTimeoutMs + settings.requestTimeoutMs);
    this.beatLinks = new BrokerLinks(settings, Math.ceil(sessionTimeoutMs / 3));
    this.joinCoordinator = new Coordinator(this.joinLinks, 'group', this.group);
    this.beatCoordinator = new Coordinator(this.beatLinks, 'group', this.group);
    this.topics = new Topics(this.beatLinks, settings.deadlineMs);
  }

  /** This process's place in the group, or null while it has none. */
  get identity(): GroupIdentity | null {
    return this.member.generation < 0 ? null : this.member;
  }

  /** Resolves once the first assignment was handed over. Errors: refusals that joining again cannot cure. */
  async join(handlers: Handlers): Promise<void> {
    if (this.handlers !== null) throw new KafkaError('kafka-options', `Group ${this.group} was joined already`);
    this.handlers = handlers;
    let joined = false;
    await new Promise<void>((resolve, reject) => {
      const onFirst = () => {
        joined = true;
        resolve();
      };
      this.running = this.run(onFirst).then(resolve, (error: Error) => {
        if (joined) handlers.onFailed(error);
        else reject(error);
      });
    });
  }

  /**
   * Leaves, so that others need not wait for the session time-out. The caller has stopped its tasks before, and does not
   * await this inside a handler.
   */
  async leave(): Promise<void> {
    if (this.leaving.signal.aborted) return;
    this.leaving.abort();
    this.stay.abort();
    await this.joinLinks.close();
    await this.running;
    await this.handing;
    if (this.member.memberId !== '') await this.sendLeave(this.member.memberId);
    this.member = OUTSIDE;
    await this.beatLinks.close();
  }

  private async run(onFirst: () => void): Promise<void> {
    const backoff = new Backoff(50, 1_000);
    const watch = setInterval(() => this.watchSilence(), WATCH_MS);
    try {
      while (!this.leaving.signal.aborted) {
        try {
          await this.takePart(onFirst);
          backoff.reset();
        } catch (error) {
          await this.recover(error);
          await this.handing; // G4
          await backoff.wait(this.leaving.signal);
        }
      }
    } catch (error) {
      if (!this.leaving.signal.aborted) throw error;
    } finally {
      clearInterval(watch);
    }
  }

  /** One generation: join, sync, hand over, heartbeat until the group changes. */
  private async takePart(onFirst: () => void): Promise<void> {
    this.stay = new AbortController();
    const { signal } = this.stay;
    if (this.leaving.signal.aborted) return;
    this.silenceAllowedMs = this.settings.sessionTimeoutMs + this.settings.rebalanceTimeoutMs;
    const joined = await this.sendJoin();
    const assigned = await this.sendSync(joined);
    this.silenceAllowedMs = this.settings.sessionTimeoutMs;
    const given = assigned.filter((partition) => partition >= 0).sort((a, b) => a - b);
    const givesUp = this.owned.some((partition) => !given.includes(partition));
    if (signal.aborted) return;
    const { stay } = this;
    const handing = this.handOver(given).then(
      () => {
        onFirst();
        if (givesUp) stay.abort(); // G1
      },
      (error: unknown) => {
        stay.abort();
        throw error;
      },
    );
    this.handing = handing.catch(() => {
      // Told by `handing` below, or dropped with the membership that it belonged to.
    });
    await this.heartbeat(signal);
    await handing;
  }

  /** Until the handler is done, what it held before counts as held as well. */
  private async handOver(given: readonly number[]): Promise<void> {
    const { member } = this;
    this.owned = [...new Set([...this.owned, ...given])];
    await this.handlers?.onAssigned(given);
    if (this.member === member) this.owned = given;
  }

  private async sendJoin(): Promise<JoinAnswer> {
    const deadline = new Deadline(this.settings.deadlineMs);
    const { memberId, generation } = this.member;
    const request = {
      group: this.group,
      memberId,
      instanceId: this.settings.groupInstanceId,
      sessionTimeoutMs: this.settings.sessionTimeoutMs,
      rebalanceTimeoutMs: this.settings.rebalanceTimeoutMs,
      subscription: { topic: this.topic, owned: this.owned, generation },
      reason: generation < 0 ? 'started' : 'the group or what it holds changed',
    };
    try {
      return this.heard(await this.joinCoordinator.ask(JOIN_GROUP, request, deadline));
    } catch (error) {
      if (brokerCodeOf(error) !== API_ERROR.MEMBER_ID_REQUIRED) throw error;
      const assigned = (error as { response: JoinAnswer }).response.memberId;
      this.member = { ...OUTSIDE, memberId: assigned };
      return this.heard(await this.joinCoordinator.ask(JOIN_GROUP, { ...request, memberId: assigned }, deadline));
    }
  }

  private async sendSync(joined: JoinAnswer): Promise<readonly number[]> {
    const { memberId, generationId } = joined;
    this.isLeader = joined.leader === memberId;
    const answer = await this.joinCoordinator.ask(
      API.SYNC_GROUP,
      {
        groupId: this.group,
        groupInstanceId: this.settings.groupInstanceId,
        memberId,
        generationId,
        protocolType: PROTOCOL_TYPE,
        protocolName: PROTOCOL_NAME,
        assignments: await this.assignments(joined),
      },
      new Deadline(this.settings.deadlineMs),
    );
    this.member = { memberId, generation: generationId };
    return this.heard(answer).assignment[this.topic] ?? [];
  }

  private async assignments(joined: JoinAnswer) {
    if (!this.isLeader) return [];
    const { partitions } = await this.topics.refresh(this.topic);
    this.partitionsSeen = partitions;
    // A leader that is back under its name finds everything assigned as it was (KIP-814).
    return joined.skipAssignment ? [] : this.decide(joined, partitions);
  }

  private decide(joined: JoinAnswer, partitions: number) {
    const claims = joined.members.map(({ memberId, metadata }) => ({
      memberId,
      ...decodeSubscription(metadata, this.topic),
    }));
    const given = balance(claims, partitions);
    return [...given].map(([memberId, assigned]) => ({ memberId, assignment: { [this.topic]: assigned } }));
  }

  private async heartbeat(signal: AbortSignal): Promise<void> {
    const everyMs = this.settings.sessionTimeoutMs / 3;
    let nextDiscovery = new Deadline(DISCOVERY_MS);
    for (;;) {
      await pause(everyMs, signal);
      if (signal.aborted) return;
      try {
        const { memberId, generation: generationId } = this.member;
        const { groupInstanceId } = this.settings;
        const request = { groupId: this.group, groupInstanceId, memberId, generationId };
        this.heard(await this.beatCoordinator.ask(API.HEARTBEAT, request, new Deadline(everyMs)));
      } catch (error) {
        const code = brokerCodeOf(error);
        if (signal.aborted || code === API_ERROR.REBALANCE_IN_PROGRESS) return;
        if (!isConnectionLoss(error) && !(code !== null && COORDINATOR_MOVED.has(code))) throw error;
        this.beatCoordinator.forget();
        this.joinCoordinator.forget();
        this.trouble(error);
      }
      if (this.isLeader && nextDiscovery.passed) {
        if (await this.partitionsChanged()) return;
        nextDiscovery = new Deadline(DISCOVERY_MS);
      }
    }
  }

  private async partitionsChanged(): Promise<boolean> {
    try {
      const view = await this.topics.askOnce(this.topic);
      return view !== null && view.partitions !== this.partitionsSeen;
    } catch (error) {
      this.trouble(error);
      return false;
    }
  }

  /** After an error: nothing for what joining again cures, everything dropped where membership ended, else thrown. */
  private async recover(error: unknown): Promise<void> {
    if (this.leaving.signal.aborted) return;
    this.silenceAllowedMs = this.settings.sessionTimeoutMs;
    const code = brokerCodeOf(error);
    if (code === API_ERROR.REBALANCE_IN_PROGRESS) return;
    if (isConnectionLoss(error) || (code !== null && COORDINATOR_MOVED.has(code))) {
      this.joinCoordinator.forget();
      this.trouble(error);
      return;
    }
    if (code !== null && EXPELLED.has(code)) {
      await this.lose(`the group answered ${brokerErrorName(code)}`);
      return;
    }
    const reason =
      code === API_ERROR.FENCED_INSTANCE_ID
        ? instanceTaken(this.group, this.settings.groupInstanceId)
        : told(error, 'JoinGroup', `group ${this.group}`);
    await this.lose(reason.message);
    throw reason;
  }

  private watchSilence(): void {
    if (this.owned.length === 0 || monotonicMs() - this.lastAnswerMs <= this.silenceAllowedMs) return;
    // A failing handler is the supervisor's to see; it must not take the timer down with it.
    this.lose(`the group did not answer for ${this.silenceAllowedMs} ms`).catch((error: unknown) =>
      this.trouble(error),
    );
  }

  /** Membership ended: forgets what it owned before anything else, then tells (G2, G4). */
  private async lose(reason: string): Promise<void> {
    const held = this.owned.length > 0 || this.member.generation >= 0;
    this.member = OUTSIDE;
    this.owned = [];
    this.stay.abort();
    if (held) await this.handlers?.onLost(reason);
  }

  private async sendLeave(memberId: string): Promise<void> {
    const members = [{ memberId, groupInstanceId: this.settings.groupInstanceId, reason: 'stopped' }];
    try {
      await this.beatCoordinator.ask(
        API.LEAVE_GROUP,
        { groupId: this.group, members },
        new Deadline(LEAVE_DEADLINE_MS),
      );
    } catch (error) {
      // The session time-out does the same, later.
      this.trouble(error);
    }
  }

  private heard<Answer>(answer: Answer): Answer {
    this.lastAnswerMs = monotonicMs();
    return answer;
  }

  private trouble(error: unknown): void {
    this.onTrouble(`Group ${this.group}: ${told(error, 'membership', this.topic).message}`);
  }
}

function instanceTaken(group: string, instanceId: string | null): KafkaError {
  return new KafkaError(
    'group-instance-taken',
    `Another process joined group ${group} as '${instanceId}', which this one was: two processes must not share a name. ` +
      'Give each its own data directory, or its own --kafka-group-instance-id',
  );
}
