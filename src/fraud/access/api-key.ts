/**
 * Owns what an API key is: its text, what is kept of it, and when it counts. Neighbours: `key-authenticator.ts` checks
 * keys of requests, `src/adapters/postgres/access-api-keys.ts` keeps them, `src/api/access` makes and revokes them.
 *
 * A key reads `fdk_<id>_<secret>`. The id (12 characters) is no secret: lists and logs may show it. The secret has 256
 * random bits, so a salted sha256 keeps it as safe as a slow hash would, at a thousandth of the time per request.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { WriteRequest } from '../audit/write-request.js';
import { type Permission, permissionsOf, type Role } from './permissions.js';

/** An API key as people may see it. Times in ms since 1970. */
export interface ApiKey {
  /** The middle part of the key's text. */
  readonly id: string;
  readonly name: string;
  readonly roles: readonly Role[];
  /** Narrows what the roles allow; null leaves it as it is. */
  readonly scopes: readonly Permission[] | null;
  /** Who made it: an actor's id. */
  readonly createdBy: string;
  /** The person behind whoever made it: the key never counts as somebody else. */
  readonly principal: string;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
  /** Coarse: told at most every few minutes. */
  readonly lastUsedAt: number | null;
}

/** What is kept of the key's text. */
export interface KeptSecret {
  /** 16 bytes, hex. */
  readonly salt: string;
  /** sha256, hex. */
  readonly hash: string;
}

export interface NewApiKey {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly scopes: readonly Permission[] | null;
  readonly expiresAt: number | null;
}

/** Where keys are looked up. Errors: code `database-unavailable`. */
export interface ApiKeyFinder {
  find(id: string): Promise<(ApiKey & KeptSecret) | null>;
  /** Notes that the key has been used. */
  touch(id: string, atMs: number): Promise<void>;
}

/** Where an administrator keeps keys. Every change is audited. Errors: code `database-unavailable`. */
export interface ApiKeyBook {
  list(limit: number, afterId: string | null): Promise<{ items: readonly ApiKey[]; next: string | null }>;
  /**
   * `text` is the whole key, to be shown this once; null where the request was a repeated one: its first answer had it,
   * and nobody keeps it.
   */
  create(request: WriteRequest, key: NewApiKey): Promise<{ readonly key: ApiKey; readonly text: string | null }>;
  /** A key revoked before stays revoked as it was. Errors: code `api-key-not-found`. */
  revoke(request: WriteRequest, id: string): Promise<ApiKey>;
}

const TEXT = /^fdk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})$/;
const ID_ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';

/** A new key's text and id. `randomBytes` gives that many random bytes. */
export function makeKeyText(randomBytes: (size: number) => Buffer): { readonly id: string; readonly text: string } {
  const id = [...randomBytes(12)].map((byte) => ID_ALPHABET[byte % ID_ALPHABET.length]).join('');
  return { id, text: `fdk_${id}_${randomBytes(32).toString('base64url')}` };
}

/** The id within a key's text; null where this is no key of ours. */
export function keyIdOf(text: string): string | null {
  return TEXT.exec(text)?.[1] ?? null;
}

/** What a key allows: its roles' permissions, narrowed by its scopes. */
export function permissionsOfKey({ roles, scopes }: Pick<ApiKey, 'roles' | 'scopes'>): ReadonlySet<Permission> {
  const allowed = permissionsOf(roles);
  return scopes === null ? allowed : new Set(scopes.filter((scope) => allowed.has(scope)));
}

/** What is to be kept of a key's text. */
export function keepSecret(text: string, salt: Buffer): KeptSecret {
  return { salt: salt.toString('hex'), hash: digest(text, salt).toString('hex') };
}

/** Whether this is the text that was kept; takes as long for a wrong one as for the right one. */
export function isKeptSecret(text: string, { salt, hash }: KeptSecret): boolean {
  return timingSafeEqual(digest(text, Buffer.from(salt, 'hex')), Buffer.from(hash, 'hex'));
}

function digest(text: string, salt: Buffer): Buffer {
  return createHash('sha256').update(salt).update(text).digest();
}
