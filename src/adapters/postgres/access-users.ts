/**
 * Owns users in Postgres. Neighbours: `src/fraud/access/user.ts` says what one is, `writes.ts` carries changes out with
 * their audit entries. Passwords are worked on before the database transaction: it holds up all other changes.
 */
import type { DataSource, EntityManager } from 'typeorm';
import { OwnAccessError, UserExistsError, UserNotFoundError } from '../../fraud/access/access-errors.js';
import { requireToHave } from '../../fraud/access/granting.js';
import { permissionsOf, type Role } from '../../fraud/access/permissions.js';
import type { NewUser, StoredUser, User, UserBook, UserChange, UserFinder } from '../../fraud/access/user.js';
import { type Precondition, requireRevision } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { databaseError } from './database-errors.js';
import type { PostgresWrites } from './writes.js';

interface UserRow {
  readonly username: string;
  readonly name: string;
  readonly password: string;
  readonly roles: Role[];
  readonly created_by: string;
  readonly created_at: Date;
  readonly changed_at: Date;
  readonly disabled: boolean;
  readonly revision: number;
  readonly generation: number;
}

export interface PostgresUserParts {
  readonly dataSource: DataSource;
  readonly writes: PostgresWrites;
  /** What to keep of a password. */
  keepPassword(password: string): Promise<string>;
  /** Told of a user who has changed, once that is certain. */
  onChanged(username: string): void;
}

export class PostgresUsers implements UserBook, UserFinder {
  constructor(private readonly parts: PostgresUserParts) {}

  async find(username: string): Promise<StoredUser | null> {
    const [row] = await this.query('looking a user up', 'SELECT * FROM users WHERE username = $1', [username]);
    return row === undefined ? null : storedUser(row);
  }

  async get(username: string): Promise<User> {
    const user = await this.find(username);
    if (user === null) throw new UserNotFoundError(username);
    return shown(user);
  }

  async list(limit: number, after: string | null): Promise<{ items: readonly User[]; next: string | null }> {
    const rows = await this.query(
      'listing users',
      'SELECT * FROM users WHERE $2::text IS NULL OR username > $2 ORDER BY username LIMIT $1',
      [limit + 1, after],
    );
    const items = rows.slice(0, limit).map((row) => shown(storedUser(row)));
    return { items, next: rows.length > limit ? (items.at(-1)?.username ?? null) : null };
  }

  async create(request: WriteRequest, { username, name, roles, password }: NewUser): Promise<User> {
    requireToHave(request.actor, permissionsOf(roles));
    const kept = await this.parts.keepPassword(password);
    return this.parts.writes.run(request, async ({ manager, nowMs, audit }) => {
      const rows: UserRow[] = await manager.query(
        `INSERT INTO users (username, name, password, roles, created_by, created_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (username) DO NOTHING RETURNING *`,
        [username, name, kept, roles, request.actor.id, new Date(nowMs)],
      );
      const [row] = rows;
      if (row === undefined) throw new UserExistsError(username);
      audit({ action: 'user.created', subject: { kind: 'user', id: username }, details: { name, roles } });
      return shown(storedUser(row));
    });
  }

  async change(request: WriteRequest, username: string, expected: Precondition, change: UserChange): Promise<User> {
    const changed = await this.parts.writes.run(request, async ({ manager, nowMs, audit }) => {
      const before = await lockedUser(manager, username);
      requireRevision(expected, `The user ${username}`, before.revision);
      const { name = before.name, roles = before.roles, disabled = before.disabled } = change;
      requireToHave(request.actor, permissionsOf([...before.roles, ...roles]));
      const losesAdmin = before.roles.includes('admin') && !roles.includes('admin');
      if (request.actor.id === username && (disabled || losesAdmin)) throw new OwnAccessError();
      // Whoever loses something loses the tokens that were given out under it.
      const loses = disabled || before.roles.some((role) => !roles.includes(role));
      const row = await updated(manager, `name = $3, roles = $4, disabled = $5, generation = generation + $6`, [
        username,
        new Date(nowMs),
        name,
        roles,
        disabled,
        loses ? 1 : 0,
      ]);
      audit({
        action: 'user.changed',
        subject: { kind: 'user', id: username },
        details: { before: facts(before), after: { name, roles, disabled } },
      });
      return shown(storedUser(row));
    });
    this.parts.onChanged(username);
    return changed;
  }

  async setPassword(request: WriteRequest, username: string, password: string): Promise<User> {
    const kept = await this.parts.keepPassword(password);
    const changed = await this.parts.writes.run(request, async ({ manager, nowMs, audit }) => {
      const { roles } = await lockedUser(manager, username);
      requireToHave(request.actor, permissionsOf(roles));
      const row = await updated(manager, 'password = $3, generation = generation + 1', [
        username,
        new Date(nowMs),
        kept,
      ]);
      audit({ action: 'user.password-set', subject: { kind: 'user', id: username }, details: {} });
      return shown(storedUser(row));
    });
    this.parts.onChanged(username);
    return changed;
  }

  private async query(doing: string, sql: string, values: readonly unknown[]): Promise<UserRow[]> {
    try {
      return await this.parts.dataSource.query(sql, [...values]);
    } catch (error) {
      throw databaseError(error, doing);
    }
  }
}

async function lockedUser(manager: EntityManager, username: string): Promise<StoredUser> {
  const rows: UserRow[] = await manager.query('SELECT * FROM users WHERE username = $1 FOR UPDATE', [username]);
  const [row] = rows;
  if (row === undefined) throw new UserNotFoundError(username);
  return storedUser(row);
}

/** `set` may use $3 and on; $1 is the user, $2 the time. */
async function updated(manager: EntityManager, set: string, values: readonly unknown[]): Promise<UserRow> {
  const [rows]: [UserRow[], number] = await manager.query(
    `UPDATE users SET revision = revision + 1, changed_at = $2, ${set} WHERE username = $1 RETURNING *`,
    [...values],
  );
  const [row] = rows;
  if (row === undefined) throw new UserNotFoundError(String(values[0]));
  return row;
}

const facts = ({ name, roles, disabled }: User) => ({ name, roles, disabled });

function storedUser(row: UserRow): StoredUser {
  const { username, name, roles, disabled, revision, password, generation } = row;
  const times = { createdAt: row.created_at.getTime(), changedAt: row.changed_at.getTime() };
  return { username, name, roles, disabled, createdBy: row.created_by, ...times, revision, password, generation };
}

/** Without what nobody may see. */
function shown({ password: _, generation: __, ...user }: StoredUser): User {
  return user;
}
