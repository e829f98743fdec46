/**
 * Owns taking whole files of risk rows over HTTP: the two media types, their larger body limit, and that no other route
 * takes them. Neighbours: `risk-table.controller.ts` has the route, `risk-rows-upload.ts` reads the text.
 */
import { applyDecorators, BadRequestException, UnsupportedMediaTypeException } from '@nestjs/common';
import { ApiBody, ApiConsumes } from '@nestjs/swagger';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { UPLOAD_FORMATS, type UploadFormat } from '../../fraud/enrichment/risk-rows-upload.js';
import { BodyLimit } from '../body-limit.js';

export const RISK_TABLE_PATH = 'v1/risk-table';
const UPLOAD_ROUTE = `/${RISK_TABLE_PATH}/bulk`;
const UPLOAD_LIMIT_BYTES = 5 * 1024 * 1024;

/** A body that came under one of the media types for files. */
export class UploadBody {
  constructor(
    readonly format: UploadFormat,
    readonly text: string,
  ) {}
}

/** Lets the upload route, and no other, take files. */
export function takeUploads(fastify: FastifyInstance): void {
  fastify.addContentTypeParser(
    [...UPLOAD_FORMATS],
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      const format = formatOf(request.headers['content-type']);
      if (format === null || request.routeOptions.url !== UPLOAD_ROUTE) throw unsupported();
      return new UploadBody(format, textOf(body));
    },
  );
}

/** The file of a request. Errors: 415 where it came as something else, or not at all. */
export function uploadOf(body: unknown): UploadBody {
  if (!(body instanceof UploadBody)) throw unsupported();
  return body;
}

/** The upload route's body: its size, and its documentation. */
export function TakesUpload(): MethodDecorator {
  return applyDecorators(
    BodyLimit(UPLOAD_LIMIT_BYTES),
    ApiConsumes(...UPLOAD_FORMATS),
    ApiBody({ required: true, schema: { type: 'string' } }),
  );
}

const unsupported = () =>
  new UnsupportedMediaTypeException(`Send ${UPLOAD_FORMATS.join(' or ')}, to POST ${UPLOAD_ROUTE} alone`);

function formatOf(contentType: string | undefined): UploadFormat | null {
  const type = contentType?.split(';')[0].trim().toLowerCase();
  return UPLOAD_FORMATS.find((format) => format === type) ?? null;
}

/** A byte order mark is kept: the text's digest is that of the file. */
function textOf(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw new BadRequestException('The body is not UTF-8 text; save the file as UTF-8');
  }
}
