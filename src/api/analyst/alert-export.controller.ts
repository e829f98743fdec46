/**
 * Owns `/v1/alerts/export`: alerts as CSV, written page by page as the client takes them, so that neither memory nor a
 * database connection is held for long. Neighbours: `alert-csv.ts` has the form.
 */
import { Readable } from 'node:stream';
import { Controller, Get, Inject, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import type { AlertFilter, AlertOrder, AlertPosition } from '../../fraud/cases/stored-alert.js';
import { StreamError } from '../../stream/errors.js';
import { Requires, WriteOf } from '../access/requires.js';
import { AnswersProblem } from '../docs/answers.js';
import { ALERT_PARTS, type AlertParts, API_PARTS, type ApiParts } from '../parts.js';
import { CSV_HEADER, csvRow } from './alert-csv.js';
import { type ExportQuery, exportQuerySchema, filterAndOrder } from './alert-views.js';

export const EXPORT_LIMIT = 100_000;
const PAGE = 1_000;
/** Exports at once. */
const MOST_EXPORTS = 4;
/** A client that takes longer is cut off: it holds one of few places. */
const LONGEST_MS = 600_000;

class TooManyExportsError extends StreamError {
  constructor() {
    super('too-many-exports', `${MOST_EXPORTS} exports are under way; try again when one has ended.`);
  }
}

@ApiTags('alerts')
@Controller('v1/alerts/export')
export class AlertExportController {
  private running = 0;

  constructor(
    @Inject(ALERT_PARTS) private readonly parts: AlertParts,
    @Inject(API_PARTS) private readonly api: ApiParts,
  ) {}

  @Get()
  @Requires('alerts:export')
  @ApiOperation({ operationId: 'exportAlerts', summary: `Exports alerts as CSV, ${EXPORT_LIMIT} at most; is audited` })
  @ApiResponse({
    status: 200,
    description:
      'RFC 4180, one line an alert behind a line of names. Text that a spreadsheet would run has a leading apostrophe',
    headers: {
      'X-Export-Limit': { description: 'Alerts at most', schema: { type: 'integer' } },
      'X-Export-Truncated': {
        description: '`true` where the filter found more: narrow it',
        schema: { type: 'string', enum: ['true', 'false'] },
      },
    },
    content: { 'text/csv': { schema: { type: 'string' } } },
  })
  @AnswersProblem(400, 'A parameter is wrong, or `from` is not before `to`')
  @AnswersProblem(503, 'The database does not answer, or too many exports are under way')
  async export(
    @Query({ schema: exportQuerySchema }) query: ExportQuery,
    @WriteOf() request: WriteRequest,
    @Req() { method, url, id }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    if (this.running >= MOST_EXPORTS) throw new TooManyExportsError();
    this.running++;
    let cancelLimit = () => {};
    const end = () => {
      this.running--;
      cancelLimit();
    };
    try {
      const { filter, order } = filterAndOrder(query, request.actor.id);
      const truncated = await this.parts.reader.isMoreThan(filter, EXPORT_LIMIT);
      // Asked for again with the same key, it is sent again, and that is another export.
      await this.parts.work.recordExport({ ...request, idempotency: null }, { filter, order, truncated });
      const csv = Readable.from(this.lines(filter, order), { objectMode: false, highWaterMark: 64 * 1024 });
      csv.on('error', (error) => this.api.onUnexpected(error, { method, path: url.split('?')[0] ?? '', id }));
      csv.once('close', end);
      reply.raw.once('close', () => csv.destroy());
      cancelLimit = this.api.clock.schedule(LONGEST_MS, () => csv.destroy());
      void reply
        .header('cache-control', 'no-store')
        .header('content-type', 'text/csv; charset=utf-8; header=present')
        .header('content-disposition', 'attachment; filename="alerts.csv"')
        .header('x-export-limit', String(EXPORT_LIMIT))
        .header('x-export-truncated', String(truncated))
        .send(csv);
    } catch (error) {
      end();
      throw error;
    }
  }

  private async *lines(filter: AlertFilter, order: AlertOrder): AsyncGenerator<string> {
    yield CSV_HEADER;
    let after: AlertPosition | null = null;
    let left = EXPORT_LIMIT;
    do {
      const page = await this.parts.reader.list(filter, order, Math.min(PAGE, left), after);
      left -= page.items.length;
      after = page.next;
      if (page.items.length > 0) yield page.items.map(csvRow).join('');
    } while (after !== null && left > 0);
  }
}
