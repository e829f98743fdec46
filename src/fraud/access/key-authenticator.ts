/**
 * Owns the check of API keys on requests: the preset key of the configuration, and those an administrator made.
 * Neighbours: `api-key.ts` says what a key is, `authenticators.ts` puts this beside the check of tokens.
 *
 * K1 A key revoked in this process is refused from then on; one revoked in another, within {@link CACHED_MS}.
 * K2 Only keys found valid are remembered, at most {@link CACHED_KEYS}: guesses cost a look-up and no memory.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../stream/ports.js';
import type { Actor } from './actor.js';
import { type ApiKey, type ApiKeyFinder, isKeptSecret, keyIdOf, permissionsOfKey } from './api-key.js';
import { CredentialsRefusedError } from './authenticator.js';
import { permissionsOf } from './permissions.js';

const CACHED_MS = 10_000;
const CACHED_KEYS = 1_000;
/** A use is noted no more often than this. */
const TOUCH_MS = 300_000;

interface Verified {
  readonly text: Buffer;
  readonly actor: Actor;
  /** Monotonic ms until which it is believed without another look. */
  readonly until: number;
  readonly expiresAt: number | null;
}

export interface KeyAuthenticatorParts {
  /** The whole text of a key that counts as an administrator's; null for none. */
  readonly presetKey: string | null;
  /** Null where this process has no database: then the preset key alone counts. */
  readonly keys: ApiKeyFinder | null;
  readonly clock: Pick<Clock, 'now' | 'monotonic'>;
  /** Told where a use could not be noted. */
  onTrouble(error: unknown): void;
}

export class KeyAuthenticator {
  private readonly verified = new Map<string, Verified>();
  private readonly preset: { readonly digest: Buffer; readonly actor: Actor } | null;

  constructor(private readonly parts: KeyAuthenticatorParts) {
    const { presetKey } = parts;
    this.preset = presetKey === null ? null : { digest: sha256(presetKey), actor: presetActor() };
  }

  /** Errors: {@link CredentialsRefusedError}; code `database-unavailable`. */
  async authenticate(text: string): Promise<Actor> {
    const digest = sha256(text);
    if (this.preset !== null && timingSafeEqual(digest, this.preset.digest)) return this.preset.actor;
    const id = keyIdOf(text);
    if (id === null || this.parts.keys === null) throw refused();
    return this.remembered(id, digest) ?? (await this.lookUp(id, text, digest));
  }

  /** The key is to be looked up anew, as it was revoked. */
  forget(id: string): void {
    this.verified.delete(id);
  }

  private remembered(id: string, digest: Buffer): Actor | null {
    const known = this.verified.get(id);
    if (known === undefined) return null;
    const { clock } = this.parts;
    if (clock.monotonic() < known.until && !isPast(known.expiresAt, clock.now())) {
      return timingSafeEqual(known.text, digest) ? known.actor : null;
    }
    this.verified.delete(id);
    return null;
  }

  private async lookUp(id: string, text: string, digest: Buffer): Promise<Actor> {
    const { keys, clock } = this.parts;
    const key = await (keys?.find(id) ?? null);
    if (key === null || !isKeptSecret(text, key) || key.revokedAt !== null) throw refused();
    const nowMs = clock.now();
    if (isPast(key.expiresAt, nowMs)) {
      throw new CredentialsRefusedError('credentials-expired', 'This API key has expired; ask for another one.');
    }
    const actor = actorOf(key);
    // The oldest leaves first: a Map keeps the order of entry.
    if (this.verified.size >= CACHED_KEYS) this.verified.delete(this.verified.keys().next().value ?? '');
    this.verified.set(id, { text: digest, actor, until: clock.monotonic() + CACHED_MS, expiresAt: key.expiresAt });
    if (key.lastUsedAt === null || nowMs - key.lastUsedAt > TOUCH_MS) {
      keys?.touch(id, nowMs).catch((error: unknown) => this.parts.onTrouble(error));
    }
    return actor;
  }
}

function actorOf(key: ApiKey): Actor {
  const { id, principal, name, roles } = key;
  return { id: `key:${id}`, principal, name, kind: 'api-key', roles, permissions: permissionsOfKey(key) };
}

function presetActor(): Actor {
  return {
    id: 'key:preset',
    principal: 'key:preset',
    name: 'preset API key',
    kind: 'api-key',
    roles: ['admin'],
    permissions: permissionsOf(['admin']),
  };
}

const isPast = (atMs: number | null, nowMs: number): boolean => atMs !== null && atMs <= nowMs;
const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
const refused = () => new CredentialsRefusedError('credentials-invalid', 'This API key is not accepted.');
