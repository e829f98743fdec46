/** A schema registry in memory, with the troubles that real ones have: for tests of what asks it. */
import type { SchemaAnswer, SchemaSource } from '../../src/fraud/payments/schema-source.js';
import { cachedSchemas } from '../../src/fraud/payments/schema-source-cache.js';
import type { Clock } from '../../src/stream/ports.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';

export class MemoryRegistry {
  /** `answer` as it should, `hang` without an answer, or fail with what is given. */
  trouble: 'none' | 'hang' | Error = 'none';
  requests = 0;
  private readonly answers: SchemaAnswer[] = [];
  private hanging: (() => void)[] = [];

  constructor(private readonly clock: Clock = systemClock) {}

  /** The id of a schema (an object, or text that may be no schema), from 1. */
  register(schema: object | string): number {
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema);
    return this.put({ kind: 'schema', text });
  }

  put(answer: SchemaAnswer): number {
    return this.answers.push(answer);
  }

  source(
    options: { readonly maxSchemas?: number; readonly timeoutMs?: number; readonly askAgainMs?: number } = {},
  ): SchemaSource {
    return cachedSchemas({
      maxSchemas: 100,
      timeoutMs: 1_000,
      ...options,
      clock: this.clock,
      lookup: (id) => this.lookup(id),
    });
  }

  /** Lets requests that hang be answered, and those to come. */
  release(): void {
    this.trouble = 'none';
    for (const resume of this.hanging) resume();
    this.hanging = [];
  }

  private async lookup(id: number): Promise<SchemaAnswer> {
    this.requests += 1;
    if (this.trouble instanceof Error) throw this.trouble;
    if (this.trouble === 'hang') await new Promise<void>((resolve) => this.hanging.push(resolve));
    return this.answers[id - 1] ?? { kind: 'unknown' };
  }
}
