/** Owns the nemeses that strike Postgres. Detection goes on without it. Neighbours: `catalogue.ts`, `../postgres-control.ts`. */
import type { Random } from '../../../src/fraud/world/random.js';
import type { Arena, Nemesis, PostgresControl, Struck } from './nemesis.js';
import { endedBy, pauseBetween } from './strike.js';

const used = ({ postgres }: Arena) => (postgres === null ? 'no service uses a database' : null);

/** Immediate shutdown: sessions are dropped, the log is replayed at the next start. */
export const postgresStop: Nemesis = {
  name: 'postgres-stop',
  impossible: used,
  strike: (arena, random) => away(arena, random, 'stopped at once', (postgres) => postgres.stopAtOnce()),
};

/** kill -9 of the server and its children. */
export const postgresKill: Nemesis = {
  name: 'postgres-kill',
  impossible: used,
  strike: (arena, random) => away(arena, random, 'killed by kill -9', (postgres) => postgres.kill()),
};

/** It neither answers nor refuses for a while. */
export const postgresPause: Nemesis = {
  name: 'postgres-pause',
  impossible: used,
  async strike({ postgres }, random) {
    if (postgres === null) throw new Error('no service uses a database');
    await postgres.pause();
    const ms = await pauseBetween(random, 2_000, 5_000);
    const what = `Postgres paused for ${ms} ms and more`;
    return { what, goesOn: true, mayEnd: false, heal: endedBy(() => postgres.resume()) };
  },
};

async function away(
  { postgres }: Arena,
  random: Random,
  how: string,
  end: (postgres: PostgresControl) => Promise<void>,
): Promise<Struck> {
  if (postgres === null) throw new Error('no service uses a database');
  await end(postgres);
  const ms = await pauseBetween(random, 500, 3_000);
  const what = `Postgres ${how}, away for ${ms} ms and more`;
  return { what, goesOn: true, mayEnd: false, heal: endedBy(() => postgres.start()) };
}
