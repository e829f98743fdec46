import { describe, expect, it } from 'vitest';
import { loadConfiguration } from '../../src/app/configuration/index.js';
import { topicsToForget } from '../../src/app/topics.js';

const forgotten = (...argv: readonly string[]) =>
  topicsToForget(
    loadConfiguration({ argv: ['--kafka=127.0.0.1:9', ...argv], env: {}, cwd: '/', readFile: () => undefined }),
    THERE,
  );
const DETECTORS = ['fraud.alerts', 'payments.dead-letters', 'fraud.state', 'fraud.rule-rollouts'];
const OTHERS = ['payments.raw', 'fraud.labels', 'fraud.state-green', 'fraud.state-gone', 'other.fraud.state'];
const DATABASES = ['fraud.rules', 'fraud.risk-table', 'fraud.outbox-log'];
const THERE = [...DETECTORS, ...DATABASES, ...OTHERS];

describe('--fresh on Kafka', () => {
  it('forgets the state logs of all generations, and no topic that is not there', () => {
    const configuration = loadConfiguration({
      argv: ['--kafka=127.0.0.1:9', '--roles=detector'],
      env: {},
      cwd: '/',
      readFile: () => undefined,
    });
    const there = ['fraud.state', 'fraud.state-g2', 'fraud.state-g13', ...OTHERS];
    expect(topicsToForget(configuration, there)).toEqual(['fraud.state', 'fraud.state-g2', 'fraud.state-g13']);
  });

  it.each<[string, readonly string[], readonly string[]]>([
    ['everything in one process', [], [...DETECTORS, ...DATABASES]],
    ['a Postgres that is kept', ['--postgres-url=postgres://fraud@db/fraud'], DETECTORS],
    ['a detector alone', ['--roles=detector'], DETECTORS],
    ['the API and the projector alone', ['--roles=projector,api'], DATABASES],
    ['a projector alone', ['--roles=projector'], []],
  ])('forgets with %s what begins anew, never payments or labels', (_, argv, topics) => {
    expect(forgotten(...argv)).toEqual(topics);
  });
});
