/** Owns how tests wait for all payments to be done with, and list what came of them over the API. */
import type { Service } from './service.js';

/** Resolves once every payment is committed and, where this process projects, every alert is in Postgres. */
export async function caughtUp(service: Service, partitions = 2): Promise<void> {
  await service.until('everything is done with', async () => {
    const { lag, projector, tasks } = await service.pipeline();
    const isRunning = tasks.length === partitions && tasks.every(({ state }) => state === 'running');
    return isRunning && lag === 0 && (projector === null || (projector.state === 'running' && projector.lag === 0));
  });
}

/** Ids of all alerts that the API has, page by page, sorted. */
export async function shownAlertIds(service: Service): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: { items: { alertId: string }[]; next: string | null } = await service.json(
      `/v1/alerts?limit=200${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
    );
    ids.push(...page.items.map(({ alertId }) => alertId));
    cursor = page.next;
  }
  return ids.sort();
}
