import { MemoryRegistry } from '../support/memory-registry.js';
import { schemaSourceContract } from './schema-registry.contract.js';

schemaSourceContract('in memory', async () => {
  const registry = new MemoryRegistry();
  return {
    open: (options) => registry.source(options),
    register: async (schema) => registry.register(schema),
    requests: () => registry.requests,
    hang: async () => {
      registry.trouble = 'hang';
      return async () => registry.release();
    },
    close: async () => {},
  };
});
