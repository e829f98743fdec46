/**
 * Owns the settings of S3, and the form of a place in it. They hold wherever a place is given as `s3://bucket/prefix`.
 * Neighbours: `schema.ts` puts them into the whole; `stream-settings.ts` has the places.
 */
import { z } from 'zod';
import { setting } from './setting.js';

const PLACE = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,99}){0,5})\/?$/;
const text = () => z.string().min(1).optional().describe('text');
const file = () => z.string().min(1).optional().describe('a file');

/** Null where the place is a directory. */
export function parseS3Place(place: string): { readonly bucket: string; readonly prefix: string } | null {
  const [, bucket, prefix] = PLACE.exec(place) ?? [];
  return bucket === undefined || prefix === undefined ? null : { bucket, prefix: prefix.slice(1) };
}

/** A schema object of its own for each setting whose value is a directory or a place in S3. */
export const objectPlace = () =>
  z
    .string()
    .min(1)
    .refine((place) => !/^[a-z0-9+.-]+:\/\//i.test(place) || PLACE.test(place))
    .optional()
    .describe('a directory, or s3://bucket/prefix');

export const s3Settings = z.object({
  endpoint: setting(
    z
      .string()
      .regex(/^https?:\/\/[^\s/]+\/?$/)
      .optional()
      .describe('an address such as https://objects.example:9000'),
    {
      doc: 'Address of an object store that speaks S3’s protocol.',
      defaultNote: 'AWS’s own of the region',
    },
  ),
  region: setting(text(), {
    doc: 'Region of the bucket.',
    defaultNote: 'as the AWS SDK finds it (AWS_REGION, its shared files); us-east-1 with an endpoint',
  }),
  pathStyle: setting(z.boolean().optional(), {
    doc: 'Put the bucket into the path rather than into the host name.',
    defaultNote: 'true with an endpoint, else false',
  }),
  accessKeyId: setting(text(), {
    doc: 'Access key. Without one the AWS SDK’s chain is asked: environment, shared files, web identity, the role of the pod or machine.',
  }),
  secretAccessKey: setting(text(), { doc: 'Secret of that access key; better kept in a file.', secret: true }),
  accessKeyIdFile: setting(file(), {
    doc: 'File with the value of s3.accessKeyId.',
    path: true,
    contentOf: 's3.accessKeyId',
  }),
  secretAccessKeyFile: setting(file(), {
    doc: 'File with the value of s3.secretAccessKey.',
    path: true,
    contentOf: 's3.secretAccessKey',
  }),
  requestTimeoutMs: setting(z.int().min(100).max(600_000).default(30_000), {
    doc: 'A request (5 MiB at most) without an answer for this long is given up and tried again.',
    unit: 'ms',
  }),
  deadlineMs: setting(z.int().min(0).max(900_000).default(30_000), {
    doc: 'How long passing trouble is retried before what was to be kept or restored counts as failed.',
    unit: 'ms',
  }),
});
