/**
 * Owns the settings of access: the preset API key, the OIDC issuer, the issuer of our own, rate limits and proxies.
 * Neighbours: `schema.ts` puts them into the whole, `src/app/access.ts` builds the parts from them.
 */
import { z } from 'zod';
import { ROLES } from '../../fraud/access/permissions.js';
import { setting } from './setting.js';

const roleMapping = z
  .string()
  .regex(new RegExp(`^[^=,]{1,128}=(${ROLES.join('|')})$`))
  .describe(`a claim's value, an equals sign and one of our roles (${ROLES.join(', ')}), as in fraud-team=analyst`);

const address = z
  .string()
  .regex(/^[0-9a-fA-F.:]+(\/\d{1,3})?$/)
  .describe('an IP address or a range such as 10.0.0.0/8');

export const accessSettings = z.object({
  apiKey: setting(
    z
      .string()
      .min(24)
      .max(256)
      .regex(/^[\x21-\x7e]+$/)
      .optional()
      .describe('24 to 256 visible characters'),
    {
      doc: 'An API key that counts as an administrator’s from the first start on. Other keys are made through the API.',
      defaultNote: 'none',
      envAlias: 'FRAUD_API_KEY',
      secret: true,
    },
  ),
  apiKeyFile: setting(z.string().min(1).optional().describe('a file'), {
    doc: 'File with the value of access.apiKey.',
    path: true,
    contentOf: 'access.apiKey',
  }),
  oidc: z.object({
    issuer: setting(
      z
        .string()
        .regex(/^https?:\/\/\S+$/)
        .optional()
        .describe('an https address'),
      {
        doc: 'Issuer whose tokens are accepted (OpenID Connect); its keys are found by discovery.',
        defaultNote: 'none',
      },
    ),
    audience: setting(z.string().min(1).max(256).optional(), {
      doc: 'What a token’s aud must hold: the name under which this service is known to the issuer.',
    }),
    rolesClaim: setting(
      z.string().min(1).max(256).default('roles').describe('a claim, or a path such as realm_access.roles'),
      {
        doc: 'Claim of a token that holds the roles, as a list or as words.',
      },
    ),
    roleMapping: setting(z.array(roleMapping).max(100).default([]), {
      doc: 'Which of the claim’s values stands for which role. Where it is empty the values are our roles’ names.',
    }),
    clockToleranceMs: setting(z.int().min(0).max(300_000).default(5_000), {
      doc: 'How far the issuer’s clock may be off.',
      unit: 'ms',
    }),
    timeoutMs: setting(z.int().min(100).max(60_000).default(3_000), {
      doc: 'Time that the issuer may take to tell its keys.',
      unit: 'ms',
    }),
  }),
  local: z.object({
    enabled: setting(z.boolean().optional(), {
      doc: 'Keep users with passwords here and give out tokens at /v1/auth/token.',
      defaultNote: 'true on the embedded backend and in the demo, false where an OIDC issuer is set',
    }),
    tokenMs: setting(z.int().min(60_000).max(86_400_000).default(900_000), {
      doc: 'How long a token of ours counts.',
      unit: 'ms',
    }),
  }),
  rateLimit: z.object({
    perActor: setting(z.int().min(1).max(10_000_000).default(1_200), {
      doc: 'Requests of a user or API key a minute, to each process.',
      unit: 'requests/min',
    }),
    perAddress: setting(z.int().min(1).max(10_000_000).default(240), {
      doc: 'Requests without accepted credentials a minute from one address (of IPv6: one /64), to each process.',
      unit: 'requests/min',
    }),
  }),
  trustedProxies: setting(z.array(address).max(64).default([]), {
    doc: 'Proxies whose X-Forwarded-For is believed. Without it, all that comes through a proxy counts as one address.',
  }),
});
