/**
 * Owns the schema source on a Confluent-compatible registry (Confluent, Apicurio, Karapace, Redpanda). The client
 * `@kafkajs/confluent-schema-registry` asks and follows references; its decoding is not used (see docs/PAYMENT-FORMATS.md).
 * Neighbours: `schema-source.ts` of payments is the port, `schema-source-cache.ts` bounds and remembers.
 *
 * R1 The client compiles every schema it gets and keeps it for ever: nothing unbounded reaches it, and it is made to
 *    forget at once.
 * R2 "No such schema" is believed only in the words of a registry: a wrong address answers 404 too, and must not turn
 *    payments into dead letters.
 */
import { Agent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import { schemaOutOfBounds } from '../../fraud/payments/decode-avro-schema.js';
import {
  RegistryDeniedError,
  RegistryUnavailableError,
  type SchemaAnswer,
  type SchemaSource,
} from '../../fraud/payments/schema-source.js';
import { cachedSchemas } from '../../fraud/payments/schema-source-cache.js';
import type { Clock } from '../../stream/ports.js';

export interface ConfluentRegistryOptions {
  /** Base address, with the path under which the Confluent API lies: `http://host:8081`, `https://host/apis/ccompat/v7`. */
  readonly url: string;
  readonly clientId: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly maxSchemas: number;
  /** How soon an unknown id is asked for once more; the cache's default where left out. */
  readonly askAgainMs?: number;
  readonly auth?: { readonly username: string; readonly password: string } | { readonly token: string };
  /** PEM texts. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

export function confluentSchemas(options: ConfluentRegistryOptions): SchemaSource {
  const { clock, timeoutMs, maxSchemas, askAgainMs } = options;
  const registry = new ConfluentRegistry(options);
  return cachedSchemas({
    lookup: (id) => registry.lookup(id),
    clock,
    timeoutMs,
    maxSchemas,
    ...(askAgainMs !== undefined && { askAgainMs }),
    close: async () => registry.close(),
  });
}

type ClientOptions = ConstructorParameters<typeof SchemaRegistry>[0];

/** What the registry says under an id. */
interface Found {
  readonly schema?: unknown;
  readonly schemaType?: unknown;
  readonly references?: readonly unknown[];
}

/** Passes through the client from where the answer is seen to where it is awaited. */
class UnusableSchema extends Error {}

class ConfluentRegistry {
  private readonly agent: Agent;
  private readonly client: SchemaRegistry;
  /** Schemas without references as they came, by id, while they are asked for. */
  private readonly seen = new Map<number, string>();

  constructor(private readonly options: ConfluentRegistryOptions) {
    const { url, clientId, auth, tls } = options;
    const isTls = url.startsWith('https:');
    this.agent = isTls ? new TlsAgent({ keepAlive: true, ...tls }) : new Agent({ keepAlive: true });
    const basic = auth !== undefined && 'username' in auth ? { auth } : {};
    this.client = new SchemaRegistry({
      host: url.replace(/\/+$/, ''),
      clientId,
      agent: this.agent,
      // The cache in front pauses and asks again; a second set of pauses inside would only hide trouble.
      retry: { retries: 0 },
      middlewares: [() => this.watch()],
      ...basic,
    } as unknown as ClientOptions);
  }

  async lookup(id: number): Promise<SchemaAnswer> {
    try {
      const type = await this.client.getSchema(id);
      const seen = this.seen.get(id);
      if (seen !== undefined) return { kind: 'schema', text: seen };
      // With references: the client has put their schemas into the type. Names are written out at their first use.
      return { kind: 'schema', text: JSON.stringify(type) };
    } catch (error) {
      return this.answerOf(error);
    } finally {
      this.seen.delete(id);
      this.client.cache.clear(); // R1
    }
  }

  close(): void {
    this.agent.destroy();
  }

  private answerOf(error: unknown): SchemaAnswer {
    const { url } = this.options;
    if (error instanceof UnusableSchema) return { kind: 'unusable', reason: error.message };
    const message = error instanceof Error ? error.message : String(error);
    const status = error instanceof Error && 'status' in error ? Number(error.status) : null;
    // Without a status the answer came, and the client could make nothing of it.
    if (status === null) return { kind: 'unusable', reason: `it is no Avro schema: ${message.slice(0, 200)}` };
    if (status === 401 || status === 403) {
      throw new RegistryDeniedError(
        `the schema registry ${url} answers ${status} (${message}): check registry.username and registry.password, or registry.token`,
        { cause: error },
      );
    }
    if (status === 404 && isAboutASchema(message)) return { kind: 'unknown' }; // R2
    const what = status === 404 ? `knows no schemas under this address (404: ${message})` : `fails (${message})`;
    throw new RegistryUnavailableError(`the schema registry ${url} ${what}`, { cause: error });
  }

  /** Sees every request and answer of the client. */
  private watch() {
    const { timeoutMs, auth } = this.options;
    const headers = auth !== undefined && 'token' in auth ? { Authorization: `Bearer ${auth.token}` } : {};
    return {
      prepareRequest: async (next: () => Promise<ClientRequest>) =>
        (await next()).enhance({ timeout: timeoutMs, headers }),
      response: async (next: () => Promise<ClientResponse>) => {
        const response = await next();
        this.take(response);
        return response;
      },
    };
  }

  /** Errors: {@link UnusableSchema}. */
  private take(response: ClientResponse): void {
    const { schema, schemaType = 'AVRO', references = [] } = response.data();
    if (schemaType !== 'AVRO') throw new UnusableSchema(`it is of type ${String(schemaType).slice(0, 40)}, not AVRO`);
    if (typeof schema !== 'string') throw new UnusableSchema('the registry gave no schema text');
    const fault = schemaOutOfBounds(schema);
    if (fault !== null) throw new UnusableSchema(fault);
    const { id } = response.request().params();
    if (id !== undefined && references.length === 0) this.seen.set(Number(id), schema);
  }
}

/** Registries name the id or say "schema"; servers that know nothing of schemas say that the path is not there. */
function isAboutASchema(message: string): boolean {
  return /schema|content with id/i.test(message.replace(/^[^ ]+ - /, '')) && !/HTTP 404|resource|path/i.test(message);
}

/** So much of the client's own HTTP library as is used here. */
interface ClientRequest {
  enhance(extras: { readonly timeout: number; readonly headers: Readonly<Record<string, string>> }): ClientRequest;
  params(): { readonly id?: unknown };
}
interface ClientResponse {
  data(): Found;
  request(): ClientRequest;
}
