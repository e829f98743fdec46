/**
 * Owns the public keys of an OIDC issuer: found by discovery (OpenID Connect Discovery 1.0), remembered, fetched again
 * when they are old or a token names an unknown one. Neighbour: `oidc-tokens.ts` checks tokens with them.
 *
 * K1 The issuer is asked at most once every {@link COOL_DOWN_MS} (after a failure {@link RETRY_MS}), whatever tokens come.
 * K2 While it does not answer, keys remembered go on for {@link STALE_MS}; a token with another key is not refused, as it
 *    may be good: its sender hears that the issuer is unavailable.
 * K3 Keys come from an address that the issuer itself names, over https unless the issuer is on this machine.
 */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWSHeaderParameters, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { StreamError } from '../../stream/errors.js';
import type { Clock } from '../../stream/ports.js';

const COOL_DOWN_MS = 30_000;
const RETRY_MS = 5_000;
const FRESH_MS = 600_000;
const STALE_MS = 86_400_000;
const MOST_BYTES = 262_144;

export class IssuerUnavailableError extends StreamError {
  constructor(reason: string, options?: { cause?: unknown }) {
    super('issuer-unavailable', `The identity provider can't be asked for its keys now: ${reason}`, options);
  }
}

export interface IssuerKeysOptions {
  /** As tokens name it in `iss`. */
  readonly issuer: string;
  readonly timeoutMs: number;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Told when the issuer can't be asked. */
  onTrouble(error: Error): void;
}

type KeyLookUp = ReturnType<typeof createLocalJWKSet>;

const discoveryShape = z.object({ issuer: z.string(), jwks_uri: z.url() });
const keySetShape = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(1_000) });

export class IssuerKeys {
  private keys: { readonly lookUp: KeyLookUp; readonly at: number } | null = null;
  private failure: { readonly error: IssuerUnavailableError; readonly at: number } | null = null;
  private fetching: Promise<void> | null = null;

  constructor(private readonly options: IssuerKeysOptions) {}

  /** For jose: the key that a token's header names. Errors: {@link IssuerUnavailableError}; jose's own for no such key. */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    const nowMs = this.options.clock.monotonic();
    if (this.keys !== null && nowMs - this.keys.at > STALE_MS) this.keys = null; // K2
    if (this.keys === null) await this.refresh();
    // Old keys serve while new ones are fetched; whether that succeeds, the next token will tell.
    else if (nowMs - this.keys.at > FRESH_MS) void this.refresh();
    const found = await this.among(header, token);
    if (found !== null) return found;
    await this.refresh();
    const second = await this.among(header, token);
    if (second !== null) return second;
    if (this.failure !== null) throw this.failure.error; // K2
    throw new errors.JWKSNoMatchingKey();
  };

  private async among(header: JWSHeaderParameters, token: Parameters<JWTVerifyGetKey>[1]) {
    if (this.keys === null) return null;
    try {
      return await this.keys.lookUp(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return null;
      throw error;
    }
  }

  /** Fetches the keys unless that was done a moment ago (K1). Never rejects: `failure` tells. */
  private refresh(): Promise<void> {
    const nowMs = this.options.clock.monotonic();
    const resting =
      this.failure !== null
        ? nowMs - this.failure.at < RETRY_MS
        : this.keys !== null && nowMs - this.keys.at < COOL_DOWN_MS;
    if (resting) return Promise.resolve();
    this.fetching ??= this.fetchKeys()
      .then(
        (keySet) => {
          this.keys = { lookUp: createLocalJWKSet(keySet), at: this.options.clock.monotonic() };
          this.failure = null;
        },
        (cause: unknown) => {
          const reason = cause instanceof Error ? cause.message : String(cause);
          const error = new IssuerUnavailableError(reason, { cause });
          this.failure = { error, at: this.options.clock.monotonic() };
          this.options.onTrouble(error);
        },
      )
      .finally(() => {
        this.fetching = null;
      });
    return this.fetching;
  }

  private async fetchKeys(): Promise<JSONWebKeySet> {
    const { issuer } = this.options;
    const page = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const discovered = discoveryShape.parse(await this.fetchJson(page));
    if (discovered.issuer !== issuer) {
      throw new Error(`${page} is the page of another issuer, ${discovered.issuer.slice(0, 200)}`);
    }
    const isPlain = issuer.startsWith('http://');
    if (!discovered.jwks_uri.startsWith('https://') && !isPlain) {
      throw new Error(`it wants its keys fetched without https (${discovered.jwks_uri.slice(0, 200)})`); // K3
    }
    return keySetShape.parse(await this.fetchJson(discovered.jwks_uri)) as JSONWebKeySet;
  }

  private async fetchJson(address: string): Promise<unknown> {
    const answer = await fetch(address, {
      headers: { accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(this.options.timeoutMs),
    });
    if (!answer.ok || answer.body === null) {
      await answer.body?.cancel();
      throw new Error(`${address} answered ${answer.status}`);
    }
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const part of answer.body) {
      sizeBytes += part.byteLength;
      if (sizeBytes > MOST_BYTES) throw new Error(`${address} answered with more than ${MOST_BYTES} bytes`);
      parts.push(part);
    }
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  }
}
