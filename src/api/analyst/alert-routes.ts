/** Owns which routes `/v1/alerts` consists of, and the streams that end with the API. Neighbour: `../api.ts`. */
import type { Provider, Type } from '@nestjs/common';
import { ALERT_PARTS, type ApiParts } from '../parts.js';
import { AlertExportController } from './alert-export.controller.js';
import { AlertStatisticsController } from './alert-statistics.controller.js';
import { AlertStreamController } from './alert-stream.controller.js';
import { AlertStreams } from './alert-streams.js';
import { AlertWorkController } from './alert-work.controller.js';
import { AlertsController } from './alerts.controller.js';

export interface AlertRoutes {
  readonly controllers: readonly Type[];
  readonly providers: readonly Provider[];
  /** Ends the streams, which would keep their connections open. */
  close(): Promise<void>;
}

/** Nothing where this process serves no analysts. */
export function alertRoutes({ alerts, clock, onUnexpected }: ApiParts): AlertRoutes {
  if (alerts === null) return { controllers: [], providers: [], close: async () => {} };
  const streams = new AlertStreams({
    feed: alerts.feed,
    clock,
    onTrouble: (error) => onUnexpected(error, { method: 'GET', path: '/v1/alerts/stream', id: 'all streams' }),
  });
  return {
    // Those with a fixed last word come before `:id`.
    controllers: [
      AlertStreamController,
      AlertExportController,
      AlertStatisticsController,
      AlertsController,
      AlertWorkController,
    ],
    providers: [
      { provide: ALERT_PARTS, useValue: alerts },
      { provide: AlertStreams, useValue: streams },
    ],
    close: () => streams.close(),
  };
}
