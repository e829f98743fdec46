/**
 * Owns this process's membership in a group (classic protocol: its session time-out is the member's to choose). The group
 * only says who runs which unit and who keeps a standby of it; offsets live in the state logs (I1).
 * Neighbours: `claims.ts` decides as leader, `sources.ts` finds the units, `wire/group.ts` are the requests, `backend.ts`
 * lends the identity to progress.
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
 * G5 Nothing is handed over under another claim than our own. The leader refuses who differs; an assignment that is older
 *    than our claim (a process that is back under its name gets what the dead one had) makes us join once more.
 */
import { API, API_ERROR } from 'kafka-ts';
import type { Assigned, Assignment, AssignmentOptions, SourcePartition } from '../../../stream/ports.js';
import { compareUnits, unitName } from '../../../stream/source-partition.js';
import type { GroupIdentity } from '../admin.js';
import { Coordinator } from '../coordinator.js';
import {
  brokerCodeOf,
  brokerErrorName,
  COORDINATOR_MOVED,
  isConnectionLoss,
  KafkaError,
  refused,
  told,
} from '../errors.js';
import { BrokerLinks } from '../links.js';
import type { KafkaSettings } from '../options.js';
import { Topics } from '../topics.js';
import { Backoff, Deadline, monotonicMs, pause } from '../waiting.js';
import { decodeSubscription, type GivenToMember, JOIN_GROUP, type JoinAnswer, SYNC_GROUP } from '../wire/group.js';
import { shareOut } from './claims.js';
import { Sources } from './sources.js';

type Handlers = Parameters<Assignment['join']>[0];

const OUTSIDE = { memberId: '', generation: -1 };
const NOTHING: Assigned = { active: [], standby: [] };
const DISCOVERY_MS = 30_000;
/** A heartbeat at least this often, however long the session: by one, a survivor learns that another member is gone. */
const LONGEST_BEAT_MS = 500;
const WATCH_MS = 100;
const LEAVE_DEADLINE_MS = 2_000;
/** Codes that say: the group does not know this member in this generation any more. */
const EXPELLED: ReadonlySet<number> = new Set([API_ERROR.UNKNOWN_MEMBER_ID, API_ERROR.ILLEGAL_GENERATION]);

export class GroupMembership implements Assignment {
  private readonly group: string;
  private readonly claim: string;
  /** Joining waits for other members; heartbeats must not wait behind it, nor for long. */
  private readonly joinLinks: BrokerLinks;
  private readonly beatLinks: BrokerLinks;
  private readonly joinCoordinator: Coordinator;
  private readonly beatCoordinator: Coordinator;
  private readonly sources: Sources;
  private member = OUTSIDE;
  private held: Assigned = NOTHING;
  private isLeader = false;
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
    private readonly options: AssignmentOptions,
    private readonly onTrouble: (message: string) => void,
  ) {
    this.group = options.group;
    this.claim = options.claim ?? '';
    const { sessionTimeoutMs, rebalanceTimeoutMs } = settings;
    this.silenceAllowedMs = sessionTimeoutMs;
    this.joinLinks = new BrokerLinks(settings, rebalanceTimeoutMs + settings.requestTimeoutMs);
    this.beatLinks = new BrokerLinks(settings, Math.ceil(sessionTimeoutMs / 3));
    this.joinCoordinator = new Coordinator(this.joinLinks, 'group', this.group);
    this.beatCoordinator = new Coordinator(this.beatLinks, 'group', this.group);
    this.sources = new Sources(new Topics(this.beatLinks, settings.deadlineMs), options.source);
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
    const given = await this.sendSync(joined);
    this.silenceAllowedMs = this.settings.sessionTimeoutMs;
    if (given.refused) throw nameTaken(this.group, this.claim, given.claim);
    if (signal.aborted || !this.agreesWith(given)) return; // G5
    const assigned = { active: given.active.filter(({ partition }) => partition >= 0), standby: given.standby };
    const stays = new Set(assigned.active.map(unitName));
    const givesUp = this.held.active.some((unit) => !stays.has(unitName(unit)));
    const { stay } = this;
    const handing = this.handOver(assigned).then(
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

  private agreesWith({ claim }: GivenToMember): boolean {
    return this.claim === '' || claim === null || claim === this.claim;
  }

  /** Until the handler is done, what it held before counts as held as well. */
  private async handOver(given: Assigned): Promise<void> {
    const { member } = this;
    this.held = { active: union(this.held.active, given.active), standby: given.standby };
    await this.handlers?.onAssigned({ active: [...given.active].sort(compareUnits), standby: given.standby });
    if (this.member === member) this.held = given;
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
      subscription: {
        topics: this.sources.topics,
        claim: this.claim === '' ? null : this.claim,
        owned: this.held.active,
        standby: this.held.standby,
        generation,
      },
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

  private async sendSync(joined: JoinAnswer): Promise<GivenToMember> {
    const { memberId, generationId: generation } = joined;
    this.isLeader = joined.leader === memberId;
    const request = {
      group: this.group,
      memberId,
      instanceId: this.settings.groupInstanceId,
      generation,
      given: await this.decide(joined),
    };
    const answer = await this.joinCoordinator.ask(SYNC_GROUP, request, new Deadline(this.settings.deadlineMs));
    this.member = { memberId, generation };
    return this.heard(answer).given;
  }

  private async decide(joined: JoinAnswer): Promise<ReadonlyMap<string, GivenToMember>> {
    if (!this.isLeader) return new Map();
    // A leader that is back under its name finds everything assigned as it was (KIP-814). What came while it was away is
    // in nobody's hands: it has seen no units yet, so its first look finds them changed and the group shares anew.
    if (joined.skipAssignment) {
      this.sources.forget();
      return new Map();
    }
    const units = await this.sources.find();
    const members = joined.members.map(({ memberId, metadata }) => ({ memberId, said: decodeSubscription(metadata) }));
    return shareOut(members, units, this.options.standbys ?? 0);
  }

  private async heartbeat(signal: AbortSignal): Promise<void> {
    const { sessionTimeoutMs } = this.settings;
    const everyMs = Math.min(sessionTimeoutMs / 3, LONGEST_BEAT_MS);
    const discoveryMs = this.options.discoveryMs ?? DISCOVERY_MS;
    let nextDiscovery = new Deadline(discoveryMs);
    for (;;) {
      await pause(everyMs, signal);
      if (signal.aborted) return;
      try {
        const { memberId, generation: generationId } = this.member;
        const { groupInstanceId } = this.settings;
        const request = { groupId: this.group, groupInstanceId, memberId, generationId };
        this.heard(await this.beatCoordinator.ask(API.HEARTBEAT, request, new Deadline(sessionTimeoutMs / 3)));
      } catch (error) {
        const code = brokerCodeOf(error);
        if (signal.aborted || code === API_ERROR.REBALANCE_IN_PROGRESS) return;
        if (!isConnectionLoss(error) && !(code !== null && COORDINATOR_MOVED.has(code))) throw error;
        this.beatCoordinator.forget();
        this.joinCoordinator.forget();
        this.trouble(error);
      }
      if (this.isLeader && nextDiscovery.passed) {
        if (await this.unitsChanged()) return;
        nextDiscovery = new Deadline(discoveryMs);
      }
    }
  }

  private async unitsChanged(): Promise<boolean> {
    try {
      return await this.sources.changed();
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
    if (error instanceof KafkaError && error.code === 'pipeline-name-taken') await this.sendLeave(this.member.memberId);
    const reason = this.refusal(error, code);
    await this.lose(reason.message);
    throw reason;
  }

  /** Why this membership cannot be had, in words that say what to do. */
  private refusal(error: unknown, code: number | null): Error {
    const { groupInstanceId, sessionTimeoutMs } = this.settings;
    if (code === API_ERROR.FENCED_INSTANCE_ID) return instanceTaken(this.group, groupInstanceId);
    if (code === API_ERROR.INVALID_SESSION_TIMEOUT) return sessionRefused(this.group, sessionTimeoutMs);
    return told(error, 'JoinGroup', `group ${this.group}`);
  }

  private watchSilence(): void {
    if (isEmpty(this.held) || monotonicMs() - this.lastAnswerMs <= this.silenceAllowedMs) return;
    // A failing handler is the supervisor's to see; it must not take the timer down with it.
    this.lose(`the group did not answer for ${this.silenceAllowedMs} ms`).catch((error: unknown) =>
      this.trouble(error),
    );
  }

  /** Membership ended: forgets what it owned before anything else, then tells (G2, G4). */
  private async lose(reason: string): Promise<void> {
    const held = !isEmpty(this.held) || this.member.generation >= 0;
    this.member = OUTSIDE;
    this.held = NOTHING;
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
    this.onTrouble(`Group ${this.group}: ${told(error, 'membership', this.sources.told).message}`);
  }
}

function instanceTaken(group: string, instanceId: string | null): KafkaError {
  return new KafkaError(
    'group-instance-taken',
    `Another process joined group ${group} as '${instanceId}', which this one was: two processes must not share a name. ` +
      'Give each its own data directory, or its own --kafka-group-instance-id',
  );
}

function sessionRefused(group: string, sessionTimeoutMs: number): KafkaError {
  return refused(API_ERROR.INVALID_SESSION_TIMEOUT, 'JoinGroup', `group ${group}`, {
    message:
      `the brokers do not allow kafka.sessionTimeoutMs ${sessionTimeoutMs.toLocaleString('en')}: keep it within their group.min.session.timeout.ms ` +
      '(6,000 unless set otherwise) and group.max.session.timeout.ms, or have those changed',
  });
}

function nameTaken(group: string, ours: string, theirs: string | null): KafkaError {
  return new KafkaError(
    'pipeline-name-taken',
    `Group ${group} is held by another pipeline of this name. It runs: ${theirs ?? 'something else'}. This process would run: ${ours}. ` +
      'They would throw each other out of the same Kafka transactions. Give this one another --pipeline-name, or stop the other',
  );
}

const isEmpty = ({ active, standby }: Assigned) => active.length === 0 && standby.length === 0;

function union(a: readonly SourcePartition[], b: readonly SourcePartition[]): SourcePartition[] {
  return [...new Map([...a, ...b].map((unit) => [unitName(unit), unit])).values()];
}
