/**
 * Owns the demo's parts as the composition root starts them: the paying card world and the merchant-risk service that
 * answers the lookups. Neighbour: `demo-world.ts` keeps the pace.
 */
import {
  type MerchantRiskService,
  startMerchantRiskService,
} from '../../adapters/merchant-risk-http/merchant-risk-service.js';
import { cardWorld } from '../../fraud/world/card-world.js';
import type { LogBackend } from '../../stream/ports.js';
import { systemClock } from '../../stream/runtime/system-clock.js';
import type { Configuration } from '../configuration/index.js';
import { type DemoWorld, startDemoWorld } from './demo-world.js';

const SECONDS_A_DAY = 86_400;
/** Often enough that cards soon have a history, seldom enough that honest ones are no bursts. */
const PAYMENTS_PER_CARD_PER_DAY = 40;

/** Lets the card world pay into the payments topic. `stop` closes its writer as well. */
export async function startDemo(options: {
  readonly configuration: Configuration;
  readonly backend: LogBackend;
  readonly say: (level: 'info' | 'warn', message: string) => void;
}): Promise<DemoWorld> {
  const { demo, topics } = options.configuration;
  const paymentsADay = demo.ratePerSecond * SECONDS_A_DAY;
  const cards = demo.cards ?? Math.max(1, Math.round(paymentsADay / PAYMENTS_PER_CARD_PER_DAY));
  const makeWorld = (startMs: number) =>
    cardWorld({
      seed: demo.seed,
      cards,
      merchants: demo.merchants,
      startMs,
      paymentsPerCardPerDay: paymentsADay / cards,
      // Whoever starts the demo at night wants to see it as well.
      rhythm: 'even',
      fraudPerThousand: demo.fraudPerThousand,
      malformedPerThousand: demo.malformedPerThousand,
      latePerThousand: demo.latePerThousand,
    });
  // Before anything is opened: the options may be out of the world's bounds.
  makeWorld(systemClock.now());
  const writer = await options.backend.openWriter();
  const world = startDemoWorld({ writer, topic: topics.payments, makeWorld, clock: systemClock, say: options.say });
  return {
    get sent() {
      return world.sent;
    },
    stop: async () => {
      await world.stop();
      await writer.close();
    },
  };
}

/** A merchant-risk service on a free local port, with latencies of a real one. */
export function startDemoRiskService(): Promise<MerchantRiskService> {
  return startMerchantRiskService({ latencyMs: 8, jitterMs: 20 });
}
