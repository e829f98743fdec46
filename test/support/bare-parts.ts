/** Owns the parts of an API that has nothing to serve: a test spreads them and adds what it is about. */
import type { ApiParts } from '../../src/api/api.js';
import { DEFAULT_TOPICS } from '../../src/api/docs/asyncapi.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { rolesByToken } from './actors.js';

export const BARE_PARTS: ApiParts = {
  version: '1',
  topics: DEFAULT_TOPICS,
  authenticator: rolesByToken,
  alerts: null,
  database: null,
  pipeline: null,
  projector: null,
  rules: null,
  riskRows: null,
  relay: null,
  access: null,
  rateLimit: null,
  trustedProxies: [],
  clock: systemClock,
  onUnexpected: () => {},
};
