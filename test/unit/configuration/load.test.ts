/** What a process may be told, by whom, and how it refuses. */
import { describe, expect, it } from 'vitest';
import {
  askedFor,
  ConfigurationError,
  type ConfigurationInputs,
  configurationPage,
  describeOrigins,
  helpText,
  loadConfiguration,
  parseS3Place,
  SETTINGS,
} from '../../../src/app/configuration/index.js';

function load(inputs: Partial<ConfigurationInputs> & { files?: Record<string, string> } = {}) {
  const { files = {}, ...rest } = inputs;
  return loadConfiguration({ argv: [], env: {}, cwd: '/srv/app', readFile: (path) => files[path], ...rest });
}

function problemsOf(inputs: Parameters<typeof load>[0]) {
  try {
    load(inputs);
  } catch (error) {
    if (error instanceof ConfigurationError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

describe('sources', () => {
  it('takes the defaults where nothing is given', () => {
    const configuration = load();
    expect(configuration.epoch.maxMs).toBe(100);
    expect(configuration.backend).toBe('embedded');
    expect(configuration.demo.enabled).toBe(true);
    expect(configuration.roles).toEqual(['detector', 'api', 'projector']);
    expect(configuration.dataDir).toBe('/srv/app/data');
    expect(configuration.http).toEqual({ host: '127.0.0.1', port: 3000 });
    expect(configuration.kafka.group).toBe('fraud-detection');
    expect(configuration.origins).toEqual({});
  });

  it('lets a flag win over a variable, and a variable over the file', () => {
    const files = { '/srv/app/fraud.config.json': '{"epoch": {"maxMs": 1, "maxPayments": 1, "idleMs": 1}}' };
    const env = { FRAUD_EPOCH_MAX_MS: '2', FRAUD_EPOCH_MAX_PAYMENTS: '2' };
    const configuration = load({ files, env, argv: ['--epoch-max-ms', '3'] });
    expect(configuration.epoch).toMatchObject({ maxMs: 3, maxPayments: 2, idleMs: 1 });
    expect(describeOrigins(configuration)).toEqual([
      'epoch.maxMs = 3 (flag --epoch-max-ms)',
      'epoch.maxPayments = 2 (variable FRAUD_EPOCH_MAX_PAYMENTS)',
      'epoch.idleMs = 1 (file fraud.config.json)',
    ]);
  });

  it('reads YAML from the file that --config names, and takes its paths from that file’s directory', () => {
    const files = { '/etc/fraud.yaml': 'dataDir: state\nkafka:\n  brokers: [a:1, b:2]\nlog:\n' };
    const configuration = load({ files, argv: ['--config=/etc/fraud.yaml'] });
    expect(configuration.dataDir).toBe('/etc/state');
    expect(configuration.kafka.brokers).toEqual(['a:1', 'b:2']);
  });

  it('knows the plain variables, and prefers its own where both are set', () => {
    const env = { PORT: '8080', FRAUD_DATA_DIR: '/srv', KAFKA_BROKERS: 'k:9092', DATABASE_URL: 'postgres://u@h/d' };
    const configuration = load({ env });
    expect(configuration.http.port).toBe(8080);
    expect(configuration.dataDir).toBe('/srv');
    expect(configuration.backend).toBe('kafka');
    expect(configuration.postgres.url).toBe('postgres://u@h/d');
    expect(load({ env: { PORT: '8080', FRAUD_HTTP_PORT: '9090' } }).http.port).toBe(9090);
  });

  it('counts an empty variable as not given', () => {
    expect(load({ env: { PORT: '', FRAUD_KAFKA_BROKERS: '' } }).http.port).toBe(3000);
  });

  it('gives every setting one flag and one variable of its own', () => {
    const flags = SETTINGS.flatMap((setting) => setting.flags);
    const variables = SETTINGS.flatMap((setting) => setting.variables);
    expect(new Set(flags).size).toBe(flags.length);
    expect(new Set(variables).size).toBe(variables.length);
    expect(flags).toContain('memory-budget-mib');
  });

  it('takes every default through a flag and a variable again', () => {
    for (const setting of SETTINGS) {
      if (setting.defaultValue === undefined || String(setting.defaultValue) === '') continue;
      const text = String(setting.defaultValue);
      expect(() => load({ argv: [`--${setting.flags[0]}=${text}`] }), setting.path).not.toThrow();
      expect(() => load({ env: { [setting.variables[0]]: text } }), setting.path).not.toThrow();
    }
  });
});

describe('what follows from other settings', () => {
  it('runs on Kafka, without the card world, once brokers are given', () => {
    const configuration = load({ argv: ['--kafka', '127.0.0.1:9092,[::1]:9093'] });
    expect(configuration.backend).toBe('kafka');
    expect(configuration.demo.enabled).toBe(false);
    expect(configuration.kafka.brokers).toEqual(['127.0.0.1:9092', '[::1]:9093']);
  });

  it('stays embedded where a stronger source says so', () => {
    expect(load({ env: { KAFKA_BROKERS: 'k:1' }, argv: ['--backend', 'embedded'] }).backend).toBe('embedded');
    const files = { '/srv/app/fraud.config.json': '{"backend": "embedded"}' };
    expect(load({ files, env: { KAFKA_BROKERS: 'k:1' } }).backend).toBe('kafka');
    expect(problemsOf({ argv: ['--kafka', 'k:1', '--backend', 'embedded'] }).message).toContain(
      'Contradicts kafka.brokers',
    );
  });

  it('turns TLS on with its files', () => {
    const argv = ['--kafka', 'k:1', '--kafka-ssl-ca-file', 'ca.pem'];
    expect(load({ argv }).kafka.ssl).toMatchObject({ enabled: true, caFile: '/srv/app/ca.pem' });
  });

  it('reads a secret from its file, and lets the stronger of secret and file win', () => {
    const files = { '/run/secrets/password': 'from-file\n' };
    const sasl = ['--kafka=k:1', '--kafka-sasl-mechanism=plain', '--kafka-sasl-username=me'];
    const flag = ['--kafka-sasl-password-file', '/run/secrets/password'];
    expect(load({ files, argv: [...sasl, ...flag] }).kafka.sasl.password).toBe('from-file');
    expect(load({ files, argv: [...sasl, ...flag], env: { FRAUD_KAFKA_SASL_PASSWORD: 'x' } }).kafka.sasl.password).toBe(
      'from-file',
    );
    const stronger = { FRAUD_KAFKA_SASL_PASSWORD_FILE: '/run/secrets/password' };
    expect(load({ files, env: stronger, argv: [...sasl, '--kafka-sasl-password', 'direct'] }).kafka.sasl.password).toBe(
      'direct',
    );
  });
});

describe('refusals', () => {
  it('reports everything that is wrong at once, with source, value and what is allowed', () => {
    const error = problemsOf({
      argv: ['--epohc-max-ms', '5', '--port', 'eighty', '--log-level=lound'],
      env: { FRAUD_CHEKPOINT_RETAINED: '2', FRAUD_BATCH_MAX_RECORDS: '0' },
      files: { '/srv/app/fraud.config.json': '{"epoch": {"maxMss": 1}, "kafka": 7}' },
    });
    expect(error.exitCode).toBe(2);
    expect(error.code).toBe('configuration-invalid');
    expect(error.message).toMatchInlineSnapshot(`
      "The configuration has 7 problems:
        file fraud.config.json: epoch.maxMss
            There is no such setting. Did you mean epoch.maxMs?
        file fraud.config.json: kafka
            Is a group of settings, not a value.
        variable FRAUD_CHEKPOINT_RETAINED
            There is no such setting. Did you mean FRAUD_CHECKPOINT_RETAINED?
        flag --epohc-max-ms
            There is no such flag. Did you mean --epoch-max-ms?
        flag --port: http.port = "eighty"
            Must be a whole number from 0 to 65535.
        variable FRAUD_BATCH_MAX_RECORDS: batch.maxRecords = 0
            Must be a whole number from 1 to 65536 (records).
        flag --log-level: log.level = "lound"
            Must be one of trace, debug, info, warn, error, fatal, silent.
      All settings: --help, or docs/CONFIGURATION.md."
    `);
  });

  it('never prints a secret', () => {
    const error = problemsOf({ argv: ['--card-token-secret', 'too-short'], env: { DATABASE_URL: 'mysql://me:pw@h' } });
    expect(error.problems.map((problem) => problem.path)).toEqual(['cardToken.secret', 'postgres.url']);
    expect(error.message).not.toContain('too-short');
    expect(error.message).not.toContain('pw@h');
  });

  it('names the file that is missing or broken', () => {
    expect(problemsOf({ argv: ['--config', 'x.json'] }).message).toContain('looked for /srv/app/x.json');
    const broken = { files: { '/srv/app/fraud.config.yaml': 'a: [1' } };
    expect(problemsOf(broken).message).toContain('file fraud.config.yaml');
    expect(problemsOf({ argv: ['--postgres-url-file', 'nowhere'] }).message).toContain('looked for /srv/app/nowhere');
  });

  it('takes a file that cannot be read as one more problem, and a missing usual file as none', () => {
    const failing = (code: string) => () => {
      throw Object.assign(new Error(`${code}: no`), { code });
    };
    expect(load({ readFile: failing('ENOENT') }).http.port).toBe(3000);
    expect(problemsOf({ readFile: failing('EACCES') }).problems[0].message).toBe('Cannot be read: EACCES: no');
  });

  it('wants certificate and key together, and the parts of SASL', () => {
    expect(problemsOf({ argv: ['--kafka-ssl-cert-file', 'c.pem'] }).message).toContain('Needs kafka.ssl.keyFile');
    expect(problemsOf({ argv: ['--kafka-sasl-mechanism', 'plain'] }).problems).toHaveLength(2);
    expect(problemsOf({ argv: ['--backend', 'kafka'] }).message).toContain('--kafka host:port');
    expect(problemsOf({ argv: ['--topics-alerts', 'payments.raw'] }).message).toContain('same topic');
  });

  it('takes a directory or a place in S3 for checkpoints, and nothing else', () => {
    expect(load({ argv: ['--checkpoint-directory', 'here'] }).checkpoint.directory).toMatch(/^\/.*here$/);
    expect(load({ argv: ['--checkpoint-directory', 's3://my-bucket/a/b_c'] }).checkpoint.directory).toBe(
      's3://my-bucket/a/b_c',
    );
    for (const place of ['s3://', 's3://My_Bucket', 's3://bucket/../up', 'gs://bucket/x', 'https://bucket']) {
      expect(problemsOf({ argv: ['--checkpoint-directory', place] }).message).toContain('s3://bucket/prefix');
    }
    expect(parseS3Place('s3://my-bucket/a/b_c/')).toEqual({ bucket: 'my-bucket', prefix: 'a/b_c' });
    expect(parseS3Place('s3://my-bucket')).toEqual({ bucket: 'my-bucket', prefix: '' });
    expect(parseS3Place('/var/s3')).toBeNull();
  });

  it('wants both halves of an S3 key', () => {
    expect(problemsOf({ argv: ['--s3-access-key-id', 'a'] }).message).toContain('Needs s3.secretAccessKey as well');
    expect(problemsOf({ argv: ['--s3-secret-access-key', 'b'] }).message).toContain('Needs s3.accessKeyId as well');
  });

  it('says which flag lacks its value, also when another flag follows', () => {
    const { problems } = problemsOf({ argv: ['--data-dir', '--fresh', '--port'] });
    expect(problems.map((problem) => problem.source)).toEqual(['flag --data-dir', 'flag --port']);
  });

  it('does not mistake an orchestrator’s service links for settings', () => {
    const env = { FRAUD_DETECTOR_SERVICE_HOST: '10.0.0.1', FRAUD_DETECTOR_PORT: 'tcp://10.0.0.1:3000' };
    expect(load({ env }).http.port).toBe(3000);
  });
});

describe('pages', () => {
  it('keeps docs/CONFIGURATION.md equal to the schema', async () => {
    await expect(configurationPage()).toMatchFileSnapshot('../../../docs/CONFIGURATION.md');
  });

  it('keeps help within the width of the terminal', () => {
    for (const width of [66, 80, 100]) {
      const tooLong = helpText(width)
        .split('\n')
        .filter((line) => line.length > width);
      expect(tooLong).toEqual([]);
    }
    for (const setting of SETTINGS) expect(helpText(100)).toContain(`--${setting.flags[0]}`);
  });

  it('describes each setting in whole sentences', () => {
    for (const setting of SETTINGS) expect(setting.about.doc, setting.path).toMatch(/^[A-Z].*\.$/);
  });

  it('recognises what is asked besides running', () => {
    expect(askedFor(['--port', '1', '--help'])).toBe('help');
    expect(askedFor(['--version'])).toBe('version');
    expect(askedFor(['--', '--help'])).toBeNull();
  });
});
