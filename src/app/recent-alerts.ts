/**
 * Owns the newest alerts for the terminal: a look over the projector's shoulder, so that what is shown has been stored.
 */
import type { Alert } from '../fraud/alerts/alert.js';
import type { AlertProjection } from '../fraud/cases/projection.js';

const KEPT = 50;

export class RecentAlerts {
  private newestFirst: readonly Alert[] = [];

  /** Newest first. */
  list(): readonly Alert[] {
    return this.newestFirst;
  }

  /** The projection, watched. */
  watching(projection: AlertProjection): AlertProjection {
    return {
      positions: (topic) => projection.positions(topic),
      append: async (batch) => {
        const result = await projection.append(batch);
        const stored = batch.alerts.map(({ alert }) => alert).reverse();
        if (stored.length > 0) this.newestFirst = [...stored, ...this.newestFirst].slice(0, KEPT);
        return result;
      },
    };
  }
}
