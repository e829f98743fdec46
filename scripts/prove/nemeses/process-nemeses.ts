/** Owns the nemeses that strike processes of the service, and their disks. Neighbour: `catalogue.ts` lists them. */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../../src/fraud/world/random.js';
import type { Arena, Nemesis, ServiceControl } from './nemesis.js';
import { endedBy, over, pauseBetween, startedAgain } from './strike.js';

const two = ({ services }: Arena) => (services.length < 2 ? 'it needs two instances' : null);
const anywhere = () => null;
/** The session's end is noticed by the next look at it, and a rebalance takes a moment. */
const BEYOND_SESSION_MS = 2_000;

/** kill -9; started again at once. */
export const kill: Nemesis = {
  name: 'kill',
  impossible: anywhere,
  async strike({ services }, random) {
    const service = random.pick(services);
    await service.kill();
    return { what: `kill -9 of ${service.name}`, goesOn: false, mayEnd: false, heal: startedAgain([service]) };
  },
};

/** kill -9, and its data directory is gone: state comes back from the newest checkpoint and the state log. */
export const killAndLoseDisk: Nemesis = {
  name: 'kill-lose-disk',
  impossible: anywhere,
  async strike({ services }, random) {
    const service = random.pick(services);
    await service.kill();
    await rm(service.dataDirectory, { recursive: true, force: true, maxRetries: 5 });
    const what = `kill -9 of ${service.name}, its data directory removed`;
    return { what, goesOn: false, mayEnd: false, heal: startedAgain([service]) };
  },
};

/** kill -9, and it stays away until the others have taken its partitions over. */
export const takeover: Nemesis = {
  name: 'takeover',
  impossible: two,
  async strike({ services }, random) {
    const service = random.pick(services);
    await service.kill();
    const what = `kill -9 of ${service.name}, which stays away`;
    return { what, goesOn: true, mayEnd: false, heal: startedAgain([service]) };
  },
};

/** Two at once. */
export const killTwo: Nemesis = {
  name: 'kill-two',
  impossible: two,
  async strike({ services }, random) {
    const first = random.pick(services);
    const second = random.pick(services.filter((service) => service !== first));
    await Promise.all([first.kill(), second.kill()]);
    const what = `kill -9 of ${first.name} and ${second.name} at once`;
    return { what, goesOn: false, mayEnd: false, heal: startedAgain([first, second]) };
  },
};

/** SIGSTOP for longer than the session lasts, then SIGCONT: the others took over, and a zombie wakes up. */
export const pause: Nemesis = {
  name: 'pause',
  impossible: anywhere,
  async strike({ services, sessionTimeoutMs }, random) {
    const service = random.pick(services);
    service.pause();
    const ms = sessionTimeoutMs + BEYOND_SESSION_MS + random.whole(0, 2_000);
    await sleep(ms);
    const what = `SIGSTOP of ${service.name} for ${ms} ms and more, then SIGCONT`;
    const heal = endedBy(async () => service.resume());
    return { what, goesOn: services.length > 1, mayEnd: false, heal };
  },
};

/** SIGTERM, then started again. */
export const stop: Nemesis = {
  name: 'stop',
  impossible: anywhere,
  async strike({ services }, random) {
    const service = random.pick(services);
    await service.stop();
    return { what: `SIGTERM to ${service.name}`, goesOn: false, mayEnd: false, heal: startedAgain([service]) };
  },
};

/** Nothing more fits on the disk of one service for a while. */
export const diskFull: Nemesis = {
  name: 'disk-full',
  impossible: ({ services }) =>
    services.some(({ disk }) => disk !== null) ? null : 'no data directory lies on a small disk (that needs root)',
  async strike({ services }, random) {
    const service = random.pick(services.filter(({ disk }) => disk !== null));
    await service.disk?.fill();
    const ms = await pauseBetween(random, 4_000, 8_000);
    const what = `disk of ${service.name} full for ${ms} ms`;
    return { what, goesOn: false, mayEnd: true, heal: endedBy(() => service.disk?.free()) };
  },
};

/** An instance joins and leaves, by turns in order and by kill -9, faster than the group comes to rest. */
export const rebalanceStorm: Nemesis = {
  name: 'rebalance-storm',
  impossible: ({ extra }) => (extra === null ? 'there is no extra instance' : null),
  async strike({ extra }, random) {
    if (extra === null) throw new Error('there is no extra instance');
    const rounds = random.whole(2, 4);
    try {
      for (let round = 0; round < rounds; round++) await joinAndLeave(extra, random);
    } finally {
      await extra.kill();
    }
    return over(`rebalance storm: ${extra.name} joined and left ${rounds} times`);
  },
};

async function joinAndLeave(extra: ServiceControl, random: Random): Promise<void> {
  const inOrder = random.chance(0.5);
  extra.start();
  await pauseBetween(random, 1_200, 4_000);
  if (inOrder) await extra.stop();
  else await extra.kill();
}
