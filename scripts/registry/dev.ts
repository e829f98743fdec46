/**
 * `npm run registry`: an Apicurio schema registry on 127.0.0.1:8081 (REGISTRY_PORT chooses another port). It keeps
 * schemas in memory. Ctrl-C stops it.
 */
import { join } from 'node:path';

// Node runs this file as it is and wants the real extension, which the type checker would refuse in a plain import.
const { startRegistry } = (await import(
  new URL('./apicurio.ts', import.meta.url).href
)) as typeof import('./apicurio.js');

const registry = await startRegistry({
  port: Number(process.env.REGISTRY_PORT ?? 8081),
  output: join('.registry', 'registry.log'),
});
const stop = () => void registry.kill().then(() => process.exit(0));
process.on('SIGINT', stop);
process.on('SIGTERM', stop);

console.log(`The schema registry runs on ${registry.url} (pid ${registry.pid}).

  Payments in Avro:   npm start -- --kafka 127.0.0.1:9092 --payments-format auto --registry-url ${registry.url}
  A Python producer:  examples/produce-avro/produce.py --registry ${registry.url}

Ctrl-C stops it; the schemas are gone then.`);
