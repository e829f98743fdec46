/**
 * Owns the demo's users: one for each role, made at the first start, their passwords shown once and kept in the data
 * directory. Neighbours: `access.ts` calls it where the demo runs, `secrets.ts` keeps the file.
 */
import { randomUUID } from 'node:crypto';
import type { PostgresUsers } from '../adapters/postgres/access-users.js';
import { systemActor } from '../fraud/access/actor.js';
import type { Role } from '../fraud/access/permissions.js';
import { demoPasswords } from './secrets.js';

const PEOPLE: readonly { readonly username: string; readonly name: string; readonly role: Role }[] = [
  { username: 'ana', name: 'Ana, analyst', role: 'analyst' },
  { username: 'ruth', name: 'Ruth, rule author', role: 'rule-author' },
  { username: 'paul', name: 'Paul, rule approver', role: 'rule-approver' },
  { username: 'adam', name: 'Adam, admin', role: 'admin' },
  { username: 'audrey', name: 'Audrey, auditor', role: 'auditor' },
];
const DEMO = systemActor('demo');

export interface DemoUsersOptions {
  readonly dataDir: string;
  readonly users: PostgresUsers;
  /** A line for people; stays on the screen. */
  note(line: string): void;
}

/** Makes those who are missing. Users of these names that somebody else made are left alone. */
export async function makeDemoUsers({ dataDir, users, note }: DemoUsersOptions): Promise<void> {
  const usernames = PEOPLE.map(({ username }) => username);
  const { file, passwords, made } = await demoPasswords(dataDir, usernames);
  const write = { actor: DEMO, requestId: randomUUID(), idempotency: null };
  const lines: string[] = [];
  for (const { username, name, role } of PEOPLE) {
    const password = passwords.get(username);
    if (password === undefined) continue;
    const before = await users.find(username);
    if (before === null) await users.create(write, { username, name, roles: [role], password });
    else if (before.createdBy !== DEMO.id) continue;
    // The data directory was emptied, the database was not: the old passwords are gone with it.
    else if (made) await users.setPassword(write, username, password);
    else continue;
    lines.push(`  ${username.padEnd(8)} ${password.padEnd(18)} ${role}`);
  }
  if (lines.length === 0) return;
  note(`users of the demo, shown this once; kept in ${file}`);
  for (const line of lines) note(line);
}
