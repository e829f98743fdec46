/** Owns the settings of the payments' format and of the schema registry. Neighbour: `schema.ts` puts them into the whole. */
import { z } from 'zod';
import { setting } from './setting.js';

const file = () => z.string().min(1).optional().describe('a file');
const text = () => z.string().min(1).max(4_096).optional().describe('text');

export const paymentSettings = z.object({
  format: setting(z.enum(['json', 'avro', 'auto']).default('json'), {
    doc: 'How messages of the payments topic are written; auto takes both, told apart by their first byte.',
  }),
});

export const registrySettings = z.object({
  url: setting(
    z
      .string()
      .regex(/^https?:\/\/[^\s@]+$/)
      .optional()
      .describe('an http or https address without user and password'),
    {
      doc: 'Confluent-compatible schema registry, with the path of its API, for payments in Avro.',
      envAlias: 'SCHEMA_REGISTRY_URL',
      defaultNote: 'none',
    },
  ),
  username: setting(text(), { doc: 'User name for the registry (basic authentication).' }),
  password: setting(text(), { doc: 'Password for the registry; better kept in a file.', secret: true }),
  passwordFile: setting(file(), {
    doc: 'File with the value of registry.password.',
    path: true,
    contentOf: 'registry.password',
  }),
  token: setting(text(), { doc: 'Bearer token for the registry, instead of user and password.', secret: true }),
  tokenFile: setting(file(), {
    doc: 'File with the value of registry.token.',
    path: true,
    contentOf: 'registry.token',
  }),
  ssl: z.object({
    caFile: setting(file(), {
      doc: 'PEM file with the authorities that the registry’s certificate must lead to.',
      path: true,
    }),
    certFile: setting(file(), { doc: 'PEM file with this client’s certificate, for mutual TLS.', path: true }),
    keyFile: setting(file(), { doc: 'PEM file with the key of that certificate.', path: true }),
  }),
  timeoutMs: setting(z.int().min(100).max(60_000).default(5_000), {
    doc: 'A request to the registry without an answer for this long has failed.',
    unit: 'ms',
  }),
  waitMs: setting(z.int().min(0).max(86_400_000).default(300_000), {
    doc: 'While the registry gives no answer, payments of schemas not yet known wait for so long, the source with them.',
    unit: 'ms',
  }),
  onUnavailable: setting(z.enum(['stop', 'dead-letter']).default('stop'), {
    doc: 'What follows then: the task stops and loses nothing, or these payments become dead letters.',
  }),
  cacheSize: setting(z.int().min(1).max(10_000).default(500), {
    doc: 'Schemas remembered by each worker.',
    unit: 'schemas',
  }),
});
