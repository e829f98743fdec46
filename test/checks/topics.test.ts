/** What people are told of topics, and what the development broker makes, is what the service makes. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DEV_TOPICS } from '../../scripts/kafka/dev-topics.js';
import { loadConfiguration } from '../../src/app/configuration/index.js';
import { topicSpecs } from '../../src/app/topics.js';

const configuration = loadConfiguration({ argv: [], env: {}, cwd: '/', readFile: () => undefined });
const specs = topicSpecs(configuration, 4);
const names = specs.map(({ name }) => name).sort();
const operations = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8');

/** What the Kafka adapter adds to a record's limit. */
const FRAMING_BYTES = 4_096;

/** The rows of the table with this head. */
function rowsUnder(head: string): string[] {
  const lines = operations.split('\n');
  const from = lines.findIndex((line) => line.startsWith(head));
  expect(from, head).toBeGreaterThan(0);
  const rows = lines.slice(from + 2);
  return rows.slice(
    0,
    rows.findIndex((line) => !line.startsWith('|')),
  );
}

const namedIn = (text: string) => [...new Set(text.match(/(?<=`)(fraud|payments)\.[a-z-]+(?=`)/g))].sort();

describe('docs/OPERATIONS.md', () => {
  it('says of every topic how it is made, and of no other one', () => {
    expect(namedIn(rowsUnder('| Topic |').join('\n'))).toEqual(names);
  });

  it('says of every topic which role may do what with it', () => {
    const table = rowsUnder('| ACL |');
    expect(namedIn(table.join('\n'))).toEqual(names);
    const write = table.find((row) => row.startsWith('| Write |')) ?? '';
    // Payments alone come from outside.
    expect(namedIn(write)).toEqual(names.filter((name) => name !== 'payments.raw'));
  });
});

describe('npm run kafka', () => {
  it('makes the topics that the service would make', () => {
    const made = DEV_TOPICS.map(({ topic, numPartitions, configEntries }) => ({
      name: topic,
      partitions: numPartitions,
      settings: Object.fromEntries(configEntries.map(({ name, value }) => [name, value])),
    }));
    const wanted = specs.map(({ name, partitions, cleanup, retentionMs, maxRecordBytes }) => ({
      name,
      partitions,
      settings: {
        'cleanup.policy': cleanup,
        ...(retentionMs === undefined ? {} : { 'retention.ms': String(retentionMs) }),
        ...(maxRecordBytes === undefined ? {} : { 'max.message.bytes': String(maxRecordBytes + FRAMING_BYTES) }),
      },
    }));
    expect(made).toEqual(wanted);
  });
});
