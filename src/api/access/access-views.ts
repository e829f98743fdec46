/**
 * Owns the forms of users, API keys, tokens and the audit trail over HTTP. Neighbours: the controllers beside it.
 * Secrets come in and go out in these forms alone: a password in a body, a key or a token once in an answer.
 */
import { z } from 'zod';
import { PASSWORD_LENGTH } from '../../fraud/access/password.js';
import { PERMISSIONS, ROLES } from '../../fraud/access/permissions.js';
import { USERNAME } from '../../fraud/access/user.js';
import { pageOf, pageShape } from '../paging.js';
import { line, queryId, queryNumber } from '../validation.js';

const MOST_MS = 8_640_000_000_000_000;
const timeMs = z.int().min(0).max(MOST_MS);

const name = line(128);
const username = z.string().regex(USERNAME).meta({ description: 'Small letters, digits and . _ @ -; at most 64' });
const password = line(PASSWORD_LENGTH.max, PASSWORD_LENGTH.min);
const role = z.enum(ROLES);
const roles = z
  .array(role)
  .max(ROLES.length)
  .refine((given) => new Set(given).size === given.length, 'names a role twice')
  .meta({ uniqueItems: true });
const scopes = z
  .array(z.enum(PERMISSIONS))
  .min(1)
  .max(PERMISSIONS.length)
  .meta({ description: 'Narrows what the roles allow' });

export const signInSchema = z
  .strictObject({
    username: line(64),
    password: z.string().min(1).max(PASSWORD_LENGTH.max),
  })
  .meta({ id: 'SignIn' });
export type SignInBody = z.infer<typeof signInSchema>;

export const tokenSchema = z
  .object({
    accessToken: z.string(),
    tokenType: z.literal('Bearer'),
    expiresIn: z.int().meta({ description: 'Seconds' }),
    roles: z.array(role),
  })
  .meta({ id: 'Token', description: 'To be sent as `Authorization: Bearer <accessToken>`' });

export const meSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    kind: z.enum(['user', 'api-key', 'system']),
    roles: z.array(role),
    permissions: z.array(z.enum(PERMISSIONS)),
  })
  .meta({ id: 'Me', description: 'Who asks, and what they may do' });

export const newUserSchema = z.strictObject({ username, name, roles, password }).meta({ id: 'NewUser' });
export type NewUserBody = z.infer<typeof newUserSchema>;

export const userChangeSchema = z
  .strictObject({
    name: z.exactOptional(name),
    roles: z.exactOptional(roles),
    disabled: z.exactOptional(z.boolean()),
  })
  .meta({ id: 'UserChange', description: 'What is left out stays as it is' });
export type UserChangeBody = z.infer<typeof userChangeSchema>;

export const newPasswordSchema = z.strictObject({ password }).meta({ id: 'NewPassword' });
export type NewPasswordBody = z.infer<typeof newPasswordSchema>;

export const userSchema = z
  .object({
    username: z.string(),
    name: z.string(),
    roles: z.array(role),
    disabled: z.boolean(),
    createdBy: z.string(),
    createdAt: timeMs,
    changedAt: timeMs,
    revision: z.int().meta({ description: 'As in the ETag' }),
  })
  .meta({ id: 'User' });
export const userPageSchema = pageOf(userSchema).meta({ id: 'UserPage' });

export const newApiKeySchema = z
  .strictObject({
    name,
    roles: roles.min(1),
    scopes: z.exactOptional(scopes),
    expiresAt: z.exactOptional(timeMs).meta({ description: 'ms since 1970; left out: never' }),
  })
  .meta({ id: 'NewApiKey' });
export type NewApiKeyBody = z.infer<typeof newApiKeySchema>;

export const API_KEY_ID = /^[a-z0-9]{12}$/;
const apiKeyShape = {
  id: z.string().meta({ description: 'The middle part of the key' }),
  name: z.string(),
  roles: z.array(role),
  scopes: z.array(z.enum(PERMISSIONS)).nullable(),
  createdBy: z.string(),
  principal: z.string().meta({ description: 'The person behind it: for four eyes it is them, and nobody else' }),
  createdAt: timeMs,
  expiresAt: timeMs.nullable(),
  revokedAt: timeMs.nullable(),
  lastUsedAt: timeMs.nullable().meta({ description: 'To within some minutes' }),
};
export const apiKeySchema = z
  .object(apiKeyShape)
  .meta({ id: 'ApiKey', description: 'What is known of an API key; never the key itself' });
export const apiKeyPageSchema = pageOf(apiKeySchema).meta({ id: 'ApiKeyPage' });
export const madeApiKeySchema = z
  .object({
    ...apiKeyShape,
    key: z.string().nullable().meta({
      description:
        'The key itself, to be sent as `X-API-Key`, shown this once. Null where the request was a repeated one: its first answer had it',
    }),
  })
  .meta({ id: 'MadeApiKey' });

const when = (description: string) => z.exactOptional(queryNumber(timeMs)).meta({ description });
const actorId = line(255).meta({ description: 'In whose name it was done' });
export const auditQuerySchema = z.strictObject({
  actorId: z.exactOptional(actorId),
  action: z.exactOptional(queryId('What was done, such as `rule.activated`')),
  subjectKind: z.exactOptional(queryId('What it was done to, such as `rule`')),
  subjectId: z.exactOptional(actorId.meta({ description: 'Which one it was done to' })),
  from: when('Earliest time, ms since 1970, inclusive; before `to`'),
  to: when('Latest time, ms since 1970, exclusive'),
  ...pageShape(),
});
export type AuditQuery = z.infer<typeof auditQuerySchema>;

const auditEntrySchema = z
  .object({
    sequence: z.int().meta({ description: 'From 1 on, without gaps' }),
    at: timeMs,
    actor: z.object({ id: z.string(), name: z.string(), kind: z.string() }),
    action: z.string(),
    subject: z.object({ kind: z.string(), id: z.string() }),
    details: z.record(z.string(), z.unknown()),
    requestId: z.string(),
    previousHash: z.string(),
    hash: z.string().meta({ description: 'sha256 over the entry and the hash before it, hex' }),
  })
  .meta({ id: 'AuditEntry' });
export const auditPageSchema = pageOf(auditEntrySchema).meta({ id: 'AuditPage' });
export const auditHeadSchema = z
  .object({ sequence: z.int(), hash: z.string() })
  .meta({ id: 'AuditHead', description: 'The last entry; 0 and zeros where there is none' });
