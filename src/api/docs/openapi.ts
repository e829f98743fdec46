/**
 * Owns the OpenAPI document: made from the routes and their zod schemas, so that it can't tell another story than the
 * code. Neighbours: `answers.ts` marks the routes, `docs-page.ts` shows it, `schemas/openapi.json` keeps it for diffs.
 */
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { z } from 'zod';
import { problemSchema } from '../http-errors.js';

type JsonObject = Record<string, unknown>;

/** A zod schema as OpenAPI 3.1 (which is JSON Schema 2020-12), with the named schemas it refers to. */
function convert(
  schema: z.ZodType,
  io: 'input' | 'output',
): { schema: JsonObject; components: Record<string, JsonObject> } {
  const { $schema: _, $defs, ...converted } = z.toJSONSchema(schema, { target: 'draft-2020-12', io });
  return { schema: converted, components: ($defs ?? {}) as Record<string, JsonObject> };
}

export function makeOpenApiDocument(app: NestFastifyApplication, version: string): OpenAPIObject {
  const config = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Payment fraud detector')
    .setDescription(
      'Alerts with their evidence, and how the pipeline runs. Times are ms since 1970, money is in minor units.',
    )
    .setVersion(version)
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addBearerAuth({ type: 'http', scheme: 'bearer', bearerFormat: 'JWT' }, 'bearer')
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key' }, 'apiKey')
    .addTag('alerts', 'What analysts work on')
    .addTag('rules', 'What decides: rules and pattern parameters, changed live')
    .addTag('risk-table', 'What stands in where a merchant-risk lookup fails')
    .addTag('access', 'Who may come in, and what they did')
    .addTag('operations', 'How this process runs')
    .build();
  const document = SwaggerModule.createDocument(app, config, {
    autoTagControllers: false,
    // Parameters are documented as the route gets them (numbers), answers as they are sent.
    standardSchemaConverter: (schema, { schemaType }) =>
      schema instanceof z.ZodType ? convert(schema, schemaType === 'input' ? 'output' : 'input') : undefined,
  });
  const problem = convert(problemSchema, 'input').components;
  const schemas = Object.entries({ ...document.components?.schemas, ...problem });
  schemas.sort(([a], [b]) => (a < b ? -1 : 1));
  return { ...document, components: { ...document.components, schemas: Object.fromEntries(schemas) } };
}
