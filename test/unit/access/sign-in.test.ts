/** What a flood of guesses costs, without a database: how often a password is compared, what is written. */
import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { Passwords } from '../../../src/fraud/access/password.js';
import { SignIn } from '../../../src/fraud/access/sign-in.js';
import { SignInThrottle } from '../../../src/fraud/access/sign-in-throttle.js';
import type { StoredUser } from '../../../src/fraud/access/user.js';
import type { AuditEvent } from '../../../src/fraud/audit/audit-trail.js';

const ana: StoredUser = {
  username: 'ana',
  name: 'Ana',
  roles: ['analyst'],
  disabled: false,
  createdBy: 'system:test',
  createdAt: 0,
  changedAt: 0,
  revision: 1,
  password: 'right',
  generation: 1,
};
let nowMs: number;
let written: AuditEvent[];
let compared: number;
let auditFails: boolean;
let signIn: SignIn;

beforeEach(() => {
  nowMs = 1_000_000;
  written = [];
  compared = 0;
  auditFails = false;
  const passwords = {
    matches: async (password: string, kept: string | null) => {
      compared++;
      return password === kept;
    },
  };
  signIn = new SignIn({
    users: { find: async (username) => (username === 'ana' ? ana : null) },
    passwords: passwords as unknown as Passwords,
    issuer: { issue: async () => ({ token: 't', expiresInMs: 1 }) },
    audit: {
      append: async (_, event) => {
        if (auditFails) throw new Error('the database is away');
        written.push(event);
      },
    },
    clock: { monotonic: () => nowMs },
  });
});
const attempt = (username: string, password: string, address = '10.0.0.1') =>
  signIn.signIn(username, password, { address, requestId: 'r' }).then(
    () => 'signed in',
    (error: { code?: string }) => error.code ?? 'failed',
  );

describe('signing in', () => {
  it('compares no more than five passwords of a user from one address, though all come at once', async () => {
    const codes = await Promise.all(Array.from({ length: 40 }, (_, i) => attempt('ana', `guess ${i}`)));
    expect(compared).toBe(5);
    expect(codes.filter((code) => code === 'sign-in-throttled')).toHaveLength(35);
    expect(await attempt('ana', 'right')).toBe('sign-in-throttled');
    expect(await attempt('ana', 'right', '10.0.0.2')).toBe('signed in');
  });

  it('compares no more than fifty from one address, whatever the names', async () => {
    for (let i = 0; i < 80; i++) await attempt(`user-${i}`, 'guess');
    expect(compared).toBe(50);
    expect(await attempt('ana', 'right')).toBe('sign-in-throttled');
    nowMs += 15 * 60_000;
    expect(await attempt('ana', 'right')).toBe('signed in');
  });

  it('keeps a flood of failures out of the audit trail, and says how many were left out', async () => {
    for (let i = 0; i < 80; i++) await attempt(`user-${i}`, 'guess', `10.0.${i}.1`);
    expect(written).toHaveLength(30);
    nowMs += 60_001;
    await attempt('late', 'guess', '10.1.0.1');
    expect(written.at(-1)?.details).toEqual({ reason: 'refused', address: '10.1.0.1', leftOutBefore: 50 });
  });

  it('compares a password as well where there is no such user, so that the answer takes as long', async () => {
    expect(await attempt('nobody', 'guess')).toBe('credentials-invalid');
    expect(compared).toBe(1);
  });

  it('gives no token where the audit trail cannot be written', async () => {
    auditFails = true;
    expect(await attempt('ana', 'right')).toBe('failed');
  });

  it('forgets failures of somebody who then finds their password', async () => {
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 4; i++) expect(await attempt('ana', 'typo')).toBe('credentials-invalid');
      expect(await attempt('ana', 'right')).toBe('signed in');
    }
  });
});

describe('the memory of the throttle', () => {
  it('is bounded', () => {
    const throttle = new SignInThrottle();
    for (let i = 0; i < 30_000; i++) throttle.begin(`user-${i}`, `address-${i}`, 0);
    const { pairs, addresses } = throttle as unknown as Record<string, Map<string, unknown>>;
    expect([pairs.size, addresses.size]).toEqual([10_000, 10_000]);
  });
});

describe('passwords', () => {
  it('are kept so that only the same letters fit, however they were composed', async () => {
    const passwords = new Passwords(randomBytes);
    const kept = await passwords.keep('caf\u00e9 au lait noir');
    expect(kept).toMatch(/^scrypt\$15\$/);
    expect(await passwords.matches('cafe\u0301 au lait noir', kept)).toBe(true);
    expect(await passwords.matches('cafe au lait noir', kept)).toBe(false);
    expect(await passwords.matches('caf\u00e9 au lait noir', null)).toBe(false);
    expect(await passwords.keep('caf\u00e9 au lait noir')).not.toBe(kept);
  });

  it('are worked on two at a time, nobody’s too; too many waiting are turned away', async () => {
    const passwords = new Passwords(randomBytes, 10);
    const results = await Promise.allSettled(Array.from({ length: 40 }, () => passwords.matches('x', null)));
    const turnedAway = results.filter(({ status }) => status === 'rejected');
    expect(turnedAway).toHaveLength(40 - 2 - 32);
    expect(await passwords.matches('x', null)).toBe(false);
  });
});
