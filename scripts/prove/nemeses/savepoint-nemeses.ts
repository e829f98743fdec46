/**
 * Owns the nemesis that takes a savepoint while services die. Taking one must neither disturb the pipeline nor be
 * disturbed by it: the state log alone is read. Neighbours: `catalogue.ts` lists it, `../cycles/stage.ts` runs commands.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Arena, Nemesis } from './nemesis.js';
import { over } from './strike.js';

/** A savepoint is taken while a service is killed and started again; it must be whole. */
export const savepointWhileKilled: Nemesis = {
  name: 'savepoint-while-killed',
  impossible: ({ command }) => (command === null ? 'no commands can be run here' : null),
  async strike(arena, random) {
    const service = random.pick(arena.services);
    const name = `cycle-${random.whole(0, 1_000_000_000)}`;
    const creating = ran(arena, ['savepoint', 'create', name]);
    // Seen below.
    creating.catch(() => {});
    await sleep(random.whole(0, 1_500));
    await service.kill();
    await sleep(random.whole(0, 500));
    service.start();
    await creating;
    const verified = await ran(arena, ['savepoint', 'verify', name]);
    await ran(arena, ['savepoint', 'delete', name, '--yes']);
    return over(`kill -9 of ${service.name} while a savepoint was taken (${verified})`);
  },
};

/** The last line that the command printed. Errors: it failed. */
async function ran({ command }: Arena, words: readonly string[]): Promise<string> {
  if (command === null) throw new Error('no commands can be run here');
  const { code, output } = await command(words);
  if (code !== 0) throw new Error(`fraud ${words.join(' ')} ended with code ${code}: ${output.slice(-1_000)}`);
  return output.trim().split('\n').at(-1) ?? '';
}
