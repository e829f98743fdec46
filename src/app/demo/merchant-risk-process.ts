/**
 * Owns the merchant-risk service as a process of its own, for docker/compose.yaml and for trying out what a slow or
 * failing one does: `npm run -s merchant-risk` (variables HOST, PORT, LATENCY_MS, FAILURE_RATE).
 */
import { startMerchantRiskService } from '../../adapters/merchant-risk-http/merchant-risk-service.js';

const { HOST = '127.0.0.1', PORT = '8090', LATENCY_MS = '8', FAILURE_RATE = '0' } = process.env;

const service = await startMerchantRiskService({
  host: HOST,
  port: Number(PORT),
  latencyMs: Number(LATENCY_MS),
  jitterMs: 20,
  failureRate: Number(FAILURE_RATE),
});
process.stdout.write(`merchant-risk service: ${service.url}\n`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void service.close());
