/** Owns what nemeses share: pauses of a drawn length, and what follows a strike that needs no healing of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../../src/fraud/world/random.js';
import type { Healed, ServiceControl, Struck } from './nemesis.js';

/** Waits for a time drawn between the two; tells how long, ms. */
export async function pauseBetween(random: Random, leastMs: number, mostMs: number): Promise<number> {
  const ms = random.whole(leastMs, mostMs);
  await sleep(ms);
  return ms;
}

/** A blow that is over: nothing is left to heal. */
export function over(what: string, { mayEnd = false }: { mayEnd?: boolean } = {}): Struck {
  const sinceMs = performance.now();
  return { what, goesOn: false, mayEnd, heal: async () => ({ sinceMs, from: 'end of strike' }) };
}

/** Healing that is done once however often it is asked for, and counts recovery from its end. */
export function endedBy(end: () => Promise<unknown> | undefined): () => Promise<Healed> {
  let healing: Promise<Healed> | null = null;
  const heal = async (): Promise<Healed> => {
    await end();
    return { sinceMs: performance.now(), from: 'end of strike' };
  };
  return () => {
    healing ??= heal();
    return healing;
  };
}

/** Healing by starting services again; recovery counts from the last one's start. */
export function startedAgain(services: readonly ServiceControl[]): () => Promise<Healed> {
  return async () => {
    for (const service of services) service.start();
    return { sinceMs: Math.max(...services.map(({ startedAtMs }) => startedAtMs)), from: 'start' };
  };
}
