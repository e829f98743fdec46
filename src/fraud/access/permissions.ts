/**
 * Owns who may do what: roles, permissions, and which role has which. Neighbours: `src/api/access` checks them on every
 * route, `src/fraud/audit` records under whose name something was done.
 */

export const PERMISSIONS = [
  /** Alerts with their evidence, statistics, the live stream. */
  'alerts:read',
  /** Assign, note, dispose of. */
  'alerts:work',
  'alerts:export',
  /** Rules, rule sets, pattern parameters, their versions and roll-out; validate and test without touching production. */
  'rules:read',
  /** Make and change drafts. */
  'rules:write',
  /** Bring a version live or into shadow, pause it. */
  'rules:approve',
  'risk-table:read',
  'risk-table:write',
  'audit:read',
  /** Users and API keys. */
  'access:write',
  /** How the pipeline of this process runs. */
  'operations:read',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

export const ROLES = ['analyst', 'rule-author', 'rule-approver', 'admin', 'auditor'] as const;
export type Role = (typeof ROLES)[number];

const READING: readonly Permission[] = ['alerts:read', 'rules:read', 'risk-table:read', 'operations:read'];

export const PERMISSIONS_OF: Readonly<Record<Role, readonly Permission[]>> = {
  analyst: [...READING, 'alerts:work', 'alerts:export'],
  'rule-author': [...READING, 'rules:write', 'risk-table:write'],
  'rule-approver': [...READING, 'rules:approve'],
  auditor: [...READING, 'alerts:export', 'audit:read'],
  admin: PERMISSIONS,
};

/** Everything that any of the roles allows. */
export function permissionsOf(roles: readonly Role[]): ReadonlySet<Permission> {
  return new Set(roles.flatMap((role) => PERMISSIONS_OF[role]));
}
