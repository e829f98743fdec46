/** What every schema source keeps to, whatever is behind it. Called with a way to fill the registry and to trouble it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RegistryUnavailableError, type SchemaSource } from '../../src/fraud/payments/schema-source.js';

export interface RegistryUnderTest {
  /** A source with nothing in its cache. */
  open(options?: { readonly maxSchemas?: number; readonly timeoutMs?: number }): SchemaSource;
  /** Registers a schema, returns its id. */
  register(schema: object): Promise<number>;
  /** Requests for schemas so far; null where they cannot be counted. */
  requests(): number | null;
  /** From now on the registry gives no answer at all; returns what ends that. */
  hang(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

let schemaNumber = 0;
/** A schema that no other test has registered. */
const aSchema = () => ({
  type: 'record',
  name: `Payment${process.pid}_${schemaNumber++}`,
  namespace: 'contract',
  fields: [{ name: 'occurredAt', type: { type: 'long', logicalType: 'timestamp-millis' } }],
});

export function schemaSourceContract(name: string, start: () => Promise<RegistryUnderTest>): void {
  describe(`schema source: ${name}`, () => {
    let registry: RegistryUnderTest;
    beforeAll(async () => {
      registry = await start();
    });
    afterAll(async () => {
      await registry?.close();
    });

    it('peeks at nothing before it was fetched, and at the whole schema from then on', async () => {
      const schema = aSchema();
      const id = await registry.register(schema);
      const source = registry.open();
      expect(source.peek(id)).toBeNull();
      const answer = await source.fetch(id);
      expect(answer.kind === 'schema' && JSON.parse(answer.text)).toEqual(schema);
      expect(source.peek(id)).toBe(answer);
      await source.close();
    });

    it('says that an id is unknown, as an answer and not as an error', async () => {
      const source = registry.open();
      expect(await source.fetch(1_999_999_999)).toEqual({ kind: 'unknown' });
      expect(source.peek(1_999_999_999)).toEqual({ kind: 'unknown' });
      await source.close();
    });

    it('finds a schema that is registered between its two questions', async () => {
      const source = registry.open();
      const last = await registry.register(aSchema());
      // The registry counts up: the next schema gets the id that is asked for now.
      const pending = source.fetch(last + 1);
      await registry.register(aSchema());
      expect((await pending).kind).toBe('schema');
      await source.close();
    });

    it('lets many calls for one id share one request', async () => {
      const id = await registry.register(aSchema());
      const source = registry.open();
      const before = registry.requests();
      const answers = await Promise.all(Array.from({ length: 50 }, () => source.fetch(id)));
      expect(new Set(answers).size).toBe(1);
      if (before !== null) expect(registry.requests()).toBe(before + 1);
      await source.close();
    });

    it('forgets the schema used longest ago when there are too many', async () => {
      const source = registry.open({ maxSchemas: 2 });
      const ids = [await registry.register(aSchema()), await registry.register(aSchema())];
      for (const id of ids) await source.fetch(id);
      source.peek(ids[0]);
      await source.fetch(await registry.register(aSchema()));
      expect([source.peek(ids[0]) === null, source.peek(ids[1]) === null]).toEqual([false, true]);
      await source.close();
    });

    it('fails within its time while the registry hangs, keeps what it knows, and answers once it is back', async () => {
      const [known, other] = [await registry.register(aSchema()), await registry.register(aSchema())];
      const source = registry.open({ timeoutMs: 300 });
      await source.fetch(known);
      const release = await registry.hang();
      const askedAt = performance.now();
      await expect(source.fetch(other)).rejects.toBeInstanceOf(RegistryUnavailableError);
      expect(performance.now() - askedAt).toBeLessThan(2_000);
      expect(source.peek(known)?.kind).toBe('schema');
      const again = performance.now();
      await expect(source.fetch(other)).rejects.toBeInstanceOf(RegistryUnavailableError);
      expect(performance.now() - again).toBeLessThan(80); // spared: it failed a moment ago
      await release();
      const deadline = Date.now() + 10_000;
      for (;;) {
        try {
          expect((await source.fetch(other)).kind).toBe('schema');
          break;
        } catch (error) {
          if (!(error instanceof RegistryUnavailableError) || Date.now() > deadline) throw error;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
      await source.close();
    });
  });
}
