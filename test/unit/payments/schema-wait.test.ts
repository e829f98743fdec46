import { describe, expect, it } from 'vitest';
import { RegistryDeniedError, RegistryUnavailableError } from '../../../src/fraud/payments/schema-source.js';
import type { SchemaPatience } from '../../../src/fraud/payments/schema-wait.js';
import { pause, until } from '../../stream/task-world.js';
import { AvroWorld, bodyOf, CANONICAL_SCHEMA, framed } from './avro-fixtures.js';
import { FULL, recordsOf } from './fixtures.js';

const body = bodyOf(CANONICAL_SCHEMA, FULL);

/** A decoder, with the registry in trouble from now on, and what it says. */
function inTrouble(patience: Partial<SchemaPatience> = {}) {
  const said: string[] = [];
  const world = new AvroWorld({ ...patience, warn: (message) => said.push(message) });
  const [known, other] = [world.registry.register(CANONICAL_SCHEMA), world.registry.register(CANONICAL_SCHEMA)];
  return { world, said, known, other };
}
const outage = new RegistryUnavailableError('the registry is away');

describe('while the registry gives no answer', () => {
  it('messages of known schemas go on, without being held back', async () => {
    const { world, known } = inTrouble();
    await world.decode(framed(known, body));
    world.registry.trouble = outage;
    expect(world.decoder.prepare?.(recordsOf([framed(known, body)]), () => false)).toBeNull();
    expect(await world.codes(framed(known, body))).toEqual([null]);
  });

  it('messages of others wait, it is said once, and they are read once it is back', async () => {
    const { world, said, other } = inTrouble();
    world.registry.trouble = outage;
    let isReady = false;
    const decoded = world.codes(framed(other, body)).finally(() => {
      isReady = true;
    });
    await pause(500);
    expect(isReady).toBe(false);
    expect(said).toEqual([
      expect.stringMatching(/schemas 2 are not known here and the registry is away; payments are held back/),
    ]);
    world.registry.trouble = 'none';
    expect(await decoded).toEqual([null]);
    expect(said[1]).toMatch(/answers again/);
  });

  it('waiting ends when the task is to stop', async () => {
    const { world, other } = inTrouble();
    world.registry.trouble = outage;
    let stopping = false;
    const waiting = world.decoder.prepare?.(recordsOf([framed(other, body)]), () => stopping);
    await pause(50);
    stopping = true;
    await waiting;
  });

  it('past the time to wait the task stops, with what to do', async () => {
    const { world, other } = inTrouble({ waitMs: 300 });
    world.registry.trouble = outage;
    const waiting = world.decode(framed(other, body));
    await expect(waiting).rejects.toMatchObject({
      code: 'registry-unavailable',
      message: expect.stringMatching(/\(2\).*the registry is away.*registry\.onUnavailable/s),
    });
  });

  it('or these messages become dead letters, at once from then on, until it is back', async () => {
    const { world, known, other } = inTrouble({ waitMs: 300, onUnavailable: 'dead-letter' });
    await world.decode(framed(known, body));
    world.registry.trouble = outage;
    const values = [framed(known, body), framed(other, body), framed(known, body)];
    expect(await world.codes(...values)).toEqual([null, 'schema-unavailable', null]);
    const startedAt = performance.now();
    const { refusals } = await world.decode(...values);
    expect(performance.now() - startedAt).toBeLessThan(150);
    expect(refusals[1]).toMatchObject({ code: 'schema-unavailable', details: { 'schema.id': '2' } });
    world.registry.trouble = 'none';
    await until(() => world.decoder.prepare?.(recordsOf(values), () => false) !== undefined);
    await pause(1_000);
    expect(await world.codes(...values)).toEqual([null, null, null]);
  });

  it('but not being let in ends the task at once, whatever is configured', async () => {
    const { world, other } = inTrouble({ onUnavailable: 'dead-letter' });
    world.registry.trouble = new RegistryDeniedError('wrong password');
    await expect(world.decode(framed(other, body))).rejects.toBeInstanceOf(RegistryDeniedError);
  });
});

describe('a batch of more schemas than are remembered', () => {
  it('is decoded whole: what it needs is kept until then', async () => {
    const { world } = inTrouble();
    const ids = Array.from({ length: 300 }, () => world.registry.register(CANONICAL_SCHEMA));
    const codes = await world.codes(...ids.map((id) => framed(id, body)));
    expect(new Set(codes)).toEqual(new Set([null]));
  });
});
