/**
 * The consumers of `examples/consume-alerts` on a real broker: what they show, what they refuse, where they go on. Those
 * whose programs are not installed here are held to saying so.
 */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { projectRoot } from '../../scripts/prove/project.js';
import { type Surroundings, setUp } from '../../scripts/prove/setting-up.js';
import { encodeAlert } from '../../src/fraud/alerts/encode-alert.js';
import type { OutputRecord } from '../../src/stream/records.js';
import { anAlert } from './projector-fixtures.js';

const PORT = 19_563;
const LIMIT_MS = 40_000;
const IDLE_S = '2';
const examples = join(projectRoot, 'examples', 'consume-alerts');
const jars = join(projectRoot, '.kafka', 'lib');
const answers = (program: string, ...words: string[]) => spawnSync(program, words, { timeout: 20_000 }).status === 0;
const hasPython = answers('python3', '-c', 'import confluent_kafka, jsonschema');
const hasKcat = answers('kcat', '-V');
const hasJava = answers('java', '-version');

let surroundings: Surroundings;
let kafka: kafkajs.Kafka;

beforeAll(async () => {
  surroundings = await setUp({ port: PORT, partitions: 2 });
  const brokers = [...surroundings.brokers];
  kafka = new kafkajs.Kafka({ clientId: 'consumers-test', brokers, logLevel: kafkajs.logLevel.NOTHING });
});
afterAll(() => surroundings?.close());

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, words: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(program, words, { timeout: LIMIT_MS, maxBuffer: 1 << 26 }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

/** One Kafka transaction, committed or taken back, as epochs are. */
async function write(records: readonly OutputRecord[], outcome: 'commit' | 'abort' = 'commit'): Promise<void> {
  const producer = kafka.producer({ transactionalId: 'consumers-test', maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  const transaction = await producer.transaction();
  for (const { topic, key, value, headers } of records) {
    await transaction.send({ topic, messages: [{ key, value, headers: Object.fromEntries(headers) }] });
  }
  await transaction[outcome]();
  await producer.disconnect();
}

const alerts = (topic: string, from: number, to: number): OutputRecord[] =>
  Array.from({ length: to - from }, (_, i) => encodeAlert(anAlert(from + i), topic));

const python = (topic: string) => {
  const words = ['--brokers', surroundings.brokers.join(','), '--topic', topic, '--group', `${topic}-python`];
  return run('python3', [join(examples, 'consume.py'), ...words, '--exit-when-idle', IDLE_S]);
};

/** What the Python example said. */
async function readByPython(topic: string): Promise<{ code: number | null; report: Record<string, unknown> }> {
  const { code, stdout, stderr } = await python(topic);
  return { code, report: JSON.parse(stdout.trim().split('\n').at(-1) ?? `no report: ${stderr}`) };
}

describe('alerts of committed epochs among others that were taken back', () => {
  let topic: string;

  beforeAll(async () => {
    topic = await surroundings.inputTopic('consumers');
    await write(alerts(topic, 0, 6));
    await write(alerts(topic, 100, 103), 'abort');
    const [later] = alerts(topic, 200, 201);
    const headers = later.headers.map(([name, value]) =>
      name === 'ce_type' ? ([name, Buffer.from('fraud.alert.v2')] as const) : ([name, value] as const),
    );
    await write([...alerts(topic, 6, 10), { ...later, headers, value: Buffer.from('{}') }]);
  });

  // Where a consumer's own parts are missing its test is skipped, which counts as failed in CI.
  it.skipIf(!hasPython)('are seen by the Python example, each once, and not again by the same group', async () => {
    expect(await readByPython(topic)).toEqual({
      code: 0,
      report: { alerts: 10, others: 1, problem: null, seconds: expect.any(Number) },
    });
    expect((await readByPython(topic)).report).toMatchObject({ alerts: 0, others: 0 });
    await write(alerts(topic, 10, 12));
    expect((await readByPython(topic)).report).toMatchObject({ alerts: 2, problem: null });
  });

  it.skipIf(!hasKcat)('are counted and shown by kcat', async () => {
    const words = [surroundings.brokers.join(','), topic, '--count'];
    const { code, stdout } = await run(join(examples, 'kcat.sh'), words);
    expect([code, Number(stdout)]).toEqual([0, hasPython ? 13 : 11]);
  });

  if (!hasKcat) {
    it('are not counted where kcat is missing', async () => {
      const { stdout } = await run(join(examples, 'kcat.sh'), [surroundings.brokers.join(','), topic, '--count']);
      expect(Number(stdout)).toBe(0);
    });
  }

  it.skipIf(!hasJava)('are seen by the Java example, each once', async () => {
    const words = [surroundings.brokers.join(','), topic, `${topic}-java`, IDLE_S];
    const { code, stdout } = await run('java', [
      '-cp',
      join(jars, '*'),
      join(examples, 'ConsumeAlerts.java'),
      ...words,
    ]);
    const count = hasPython ? 12 : 10;
    expect([code, stdout.trim().split('\n').at(-1)]).toEqual([0, `{"alerts": ${count}, "twice": false}`]);
    expect(stdout).toContain(anAlert(3).alertId);
    expect(stdout).not.toContain(anAlert(101).alertId);
  });
});

describe('the Python example without its libraries', () => {
  it.skipIf(!answers('python3', '-V'))('says what to install', async () => {
    // Isolated and without site packages: as on a machine that has none.
    const { code, stderr } = await run('python3', ['-I', '-S', join(examples, 'consume.py'), '--brokers', 'nowhere:1']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('pip install confluent-kafka jsonschema')]);
  });
});

describe.skipIf(!hasPython)('the Python example refuses', () => {
  const refused = async (name: string, records: (topic: string) => readonly OutputRecord[]) => {
    const topic = await surroundings.inputTopic(name);
    await write(records(topic));
    return readByPython(topic);
  };
  const changed = (topic: string, change: (alert: Record<string, unknown>) => void): OutputRecord => {
    const [record] = alerts(topic, 1, 2);
    const alert = JSON.parse(String(record.value));
    change(alert);
    return { ...record, value: Buffer.from(JSON.stringify(alert)) };
  };

  it('an alert that comes twice', async () => {
    const seen = await refused('twice', (topic) => [...alerts(topic, 1, 3), ...alerts(topic, 1, 2)]);
    expect(seen).toMatchObject({ code: 1, report: { problem: expect.stringContaining(' is at ') } });
  });

  it('an alert that the schema does not allow, naming the place', async () => {
    const seen = await refused('invalid', (topic) => [
      changed(topic, (alert) => {
        alert.decision = 'perhaps';
      }),
    ]);
    expect(seen).toMatchObject({ code: 1, report: { problem: expect.stringMatching(/\$\.decision/) } });
  });

  it('an alert whose headers tell of another', async () => {
    const seen = await refused('headers', (topic) => [
      changed(topic, (alert) => {
        alert.alertId = 'f'.repeat(32);
      }),
    ]);
    expect(seen).toMatchObject({ code: 1, report: { problem: expect.stringContaining('ce_id') } });
  });
});
