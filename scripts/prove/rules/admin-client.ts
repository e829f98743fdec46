/** Owns the proof's calls of the admin API, as a rule author's tool would make them. Neighbours: `proof.ts`. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rule } from '../../../src/fraud/rules/rule.js';

const READY_MS = 60_000;

/** A rule set as it was published. */
export interface PublishedRuleSet {
  readonly version: number;
  readonly hash: string;
  readonly rules: readonly Rule[];
}

export class AdminClient {
  constructor(
    private readonly address: string,
    private readonly apiKey: string,
  ) {}

  /** Resolves when the service says that it is ready. */
  async ready(): Promise<void> {
    const deadline = performance.now() + READY_MS;
    for (;;) {
      const answer = await fetch(`${this.address}/health/ready`).catch(() => null);
      if (answer?.ok === true) return;
      if (performance.now() > deadline) throw new Error(`the service is not ready after ${READY_MS} ms`);
      await sleep(50);
    }
  }

  /** Makes a rule and brings its first version live. */
  async addRule(id: string, condition: string): Promise<void> {
    const created = await this.call('POST', '/v1/rules', { id, ...content(id, condition) });
    await this.activate(id, 1, created.etag);
  }

  /** Writes another condition; returns the new version and what `activate` needs. */
  async changeRule(id: string, condition: string): Promise<{ readonly version: number; readonly etag: string }> {
    const current = await this.call('GET', `/v1/rules/${id}`);
    const changed = await this.call('PUT', `/v1/rules/${id}`, content(id, condition), current.etag);
    const { newest } = changed.body as { readonly newest: { readonly version: number } };
    return { version: newest.version, etag: changed.etag };
  }

  async activate(id: string, version: number, etag: string): Promise<void> {
    await this.call('POST', `/v1/rules/${id}/activate`, { version }, etag);
  }

  async currentRuleSet(): Promise<PublishedRuleSet> {
    return (await this.call('GET', '/v1/rule-sets/current')).body as unknown as PublishedRuleSet;
  }

  async ruleSet(version: number): Promise<PublishedRuleSet> {
    return (await this.call('GET', `/v1/rule-sets/${version}`)).body as unknown as PublishedRuleSet;
  }

  private async call(method: string, path: string, body?: unknown, etag?: string) {
    const answer = await fetch(`${this.address}${path}`, {
      method,
      headers: {
        'x-api-key': this.apiKey,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(etag === undefined ? {} : { 'if-match': etag }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
    return { body: JSON.parse(text) as Record<string, unknown>, etag: answer.headers.get('etag') ?? '' };
  }
}

function content(id: string, condition: string) {
  return {
    name: `Proof: ${id}`,
    description: '',
    trigger: 'payment',
    condition,
    decision: 'review',
    severity: 'medium',
    scope: {},
  };
}
