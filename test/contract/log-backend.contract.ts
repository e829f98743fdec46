/**
 * The contract of `LogBackend` in `src/stream/ports.ts`: one suite, run by every backend. It knows no backend: offsets
 * may have gaps and start anywhere, visibility may come some time after an acknowledgement, topics get unique names,
 * every wait has an end. What a backend promises beyond the ports is tested beside it.
 */
import { afterAll, beforeAll, describe } from 'vitest';
import { describeEpochs } from './log-backend-epochs.contract.js';
import { type BackendUnderTest, LogKit } from './log-backend-kit.js';
import { describeReading } from './log-backend-reading.contract.js';
import { describeTopics } from './log-backend-topics.contract.js';

export type { BackendUnderTest };

export function describeLogBackend(name: string, makeBackend: () => Promise<BackendUnderTest>): void {
  describe(`log backend ${name}`, () => {
    let kit: LogKit | null = null;
    const opened = (): LogKit => {
      if (!kit) throw new Error('the backend is opened before the first test and not earlier');
      return kit;
    };

    beforeAll(async () => {
      kit = await LogKit.open(makeBackend);
    });

    afterAll(async () => {
      await kit?.close();
    });

    describeReading(opened);
    describeEpochs(opened);
    describeTopics(opened);
  });
}
