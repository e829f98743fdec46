/** The check stands between us and everybody who reads our topics: each kind of change is tried on the real schemas. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { releaseSchemas } from '../../scripts/checks/release-schemas.js';
import { checkSchemas, compareEvents, describe as say } from '../../scripts/checks/schema-compatibility.js';
import { compareAvroSchemas } from '../../scripts/checks/schema-compatibility-avro.js';
import { compareJsonSchemas } from '../../scripts/checks/schema-compatibility-json.js';

const schemas = join(import.meta.dirname, '..', '..', 'schemas');
// biome-ignore lint/suspicious/noExplicitAny: the schemas are changed in every way that there is.
type Anything = any;
const read = (file: string): Anything => JSON.parse(readFileSync(join(schemas, file), 'utf8'));
const short = (changes: readonly { kind: string; path: string; what: string }[]) =>
  changes.map(({ kind, path, what }) => `${kind} ${path}: ${what}`);

type Case = readonly [name: string, change: (defs: Anything, root: Anything) => void, expected: readonly RegExp[]];

const rename = (object: Anything, from: string, to: string) => {
  object[to] = object[from];
  delete object[from];
};
const without = (list: string[], name: string) => list.splice(list.indexOf(name), 1);

const json: readonly Case[] = [
  ['nothing', () => {}, []],
  ['other words', ({ Alert }) => (Alert.properties.alertId.description = 'Another text'), []],
  [
    'a new optional field',
    ({ Alert }) => (Alert.properties.caseId = { type: 'string' }),
    [/^minor caseId: is a new field/],
  ],
  [
    'a new optional field deep inside',
    ({ MatchedPayment }) => (MatchedPayment.properties.mcc = { type: 'string' }),
    [/^minor evidence\.patterns\[\]<pattern=card-testing>\.matched\[\]\.mcc: is a new field/, /velocity-burst/],
  ],
  [
    'a new required field',
    ({ Alert }) => {
      Alert.properties.caseId = { type: 'string' };
      Alert.required.push('caseId');
    },
    [/^breaking caseId: is new and required: .* make it optional/],
  ],
  ['a removed field', ({ Alert }) => delete Alert.properties.score, [/^breaking score: was removed or renamed/]],
  [
    'a removed optional field',
    ({ Payment }) => delete Payment.properties.ip,
    [/^breaking evidence\.payment\.ip: was removed/],
  ],
  [
    'a renamed field',
    ({ Alert }) => {
      rename(Alert.properties, 'cardId', 'cardToken');
      Alert.required[Alert.required.indexOf('cardId')] = 'cardToken';
    },
    [/^breaking cardId: was removed or renamed/, /^breaking cardToken: is new and required/],
  ],
  [
    'required becomes optional',
    ({ Alert }) => without(Alert.required, 'severity'),
    [/^breaking severity: was required and may be missing now/],
  ],
  [
    'optional becomes required',
    ({ Payment }) => Payment.required.push('country'),
    [/^breaking evidence\.payment\.country: is required now/],
  ],
  [
    'may be null now',
    ({ FiredRule }) => (FiredRule.properties.reason.type = ['string', 'null']),
    [/^breaking rules\[\]\.reason: may be null now/],
  ],
  [
    'may be null now, in the other way of saying it',
    ({ FiredRule }) => (FiredRule.properties.reason = { anyOf: [{ type: 'string' }, { type: 'null' }] }),
    [/^breaking rules\[\]\.reason: may be null now/],
  ],
  [
    'may not be null any more',
    ({ Alert }) =>
      (Alert.properties.score = Alert.properties.score.anyOf?.[0] ?? { type: 'number', minimum: 0, maximum: 1 }),
    [/^breaking score: may not be null any more/],
  ],
  [
    'the same nullable field in the other way of saying it',
    ({ FeatureContribution }) =>
      (FeatureContribution.properties.value = { anyOf: [{ type: 'number' }, { type: 'null' }] }),
    [],
  ],
  [
    'a wider type',
    ({ Alert }) => (Alert.properties.occurredAt.type = ['integer', 'string']),
    [/^breaking occurredAt: can be string too now/],
  ],
  [
    'another type',
    ({ Alert }) => (Alert.properties.occurredAt.type = 'string'),
    [/^breaking occurredAt: was integer and/],
  ],
  ['whole numbers become any', ({ Alert }) => (Alert.properties.occurredAt.type = 'number'), [/^breaking occurredAt/]],
  [
    'a new symbol',
    ({ Alert }) => Alert.properties.decision.enum.push('hold'),
    [/^minor decision: has the new symbol "hold"/],
  ],
  [
    'a removed symbol',
    ({ Payment }) => Payment.properties.channel.enum.pop(),
    [/^breaking evidence\.payment\.channel: lost or renamed the symbol "other"/],
  ],
  [
    'a renamed symbol',
    ({ Alert }) => (Alert.properties.decision.enum[1] = 'refuse'),
    [/^breaking decision: lost or renamed the symbol "decline"/, /^minor decision: has the new symbol "refuse"/],
  ],
  [
    'symbols where any text was',
    ({ FiredRule }) => (FiredRule.properties.name.enum = ['a']),
    [/^breaking rules\[\]\.name: has symbols alone now/],
  ],
  [
    'any text where symbols were',
    ({ Alert }) => delete Alert.properties.decision.enum,
    [/^breaking decision: can be any value now/],
  ],
  [
    'another length',
    ({ Alert }) => (Alert.properties.cardId.maxLength = 128),
    [/^breaking cardId: has another maxLength: was 64, is 128/],
  ],
  [
    'another pattern',
    ({ Alert }) => (Alert.properties.alertId.pattern = '^[0-9a-f]+$'),
    [/^breaking alertId: has another pattern/],
  ],
  [
    'a limit that went',
    ({ Alert }) => delete Alert.properties.rules.minItems,
    [/^breaking rules: has another minItems: was 1, is none/],
  ],
  [
    'other values in a map',
    ({ AlertEvidence }) => (AlertEvidence.properties.features.additionalProperties = { type: 'string' }),
    [/^breaking evidence\.features\{\}: may not be null/, /^breaking evidence\.features\{\}: was number and is string/],
  ],
  [
    'no further fields allowed',
    ({ Alert }) => (Alert.additionalProperties = false),
    [/^breaking \{\}: has another additionalProperties/],
  ],
  [
    'a new form',
    ({ PatternFinding }) =>
      PatternFinding.oneOf.push({ type: 'object', properties: { pattern: { type: 'string', const: 'new' } } }),
    [/^minor evidence\.patterns\[\]<pattern=new>: is a new form/],
  ],
  [
    'a form that went',
    ({ PatternFinding }) => PatternFinding.oneOf.shift(),
    [/^breaking evidence\.patterns\[\]<pattern=card-testing>: has gone/],
  ],
  [
    'a field of one form that went',
    ({ PatternFinding }) => delete PatternFinding.oneOf[1].properties.windowMs,
    [/^breaking evidence\.patterns\[\]<pattern=velocity-burst>\.windowMs: was removed/],
  ],
  ['forms in another order', ({ PatternFinding }) => PatternFinding.oneOf.reverse(), []],
  ['another name of the schema', (_, root) => (root.$id = 'urn:other'), [/^breaking : has another \$id/]],
  [
    'a keyword that the check does not know',
    ({ Alert }) => (Alert.dependentRequired = { score: ['rules'] }),
    [/^breaking : has another dependentRequired, which this check can't judge/],
  ],
];

describe('a change of the JSON Schema', () => {
  it.each(json)('%s', (_, change, expected) => {
    const after = read('alert.schema.json');
    change(after.$defs, after);
    const found = short(compareJsonSchemas(read('alert.schema.json'), after));
    expect(found).toHaveLength(expected.length);
    expected.forEach((pattern, index) => {
      expect(found[index]).toMatch(pattern);
    });
  });
});

/** Every named record of an Avro schema, by its name. */
function records(schema: Anything): Anything {
  const found: Record<string, Anything> = {};
  JSON.stringify(schema, (_, value) => {
    if (value?.type === 'record' || value?.type === 'enum') found[value.name] = value;
    return value;
  });
  return found;
}
const field = (record: Anything, name: string) => record.fields.find((one: Anything) => one.name === name);
const drop = (record: Anything, name: string) => record.fields.splice(record.fields.indexOf(field(record, name)), 1);

const avro: readonly Case[] = [
  ['nothing', () => {}, []],
  ['other words', ({ Alert }) => (field(Alert, 'alertId').doc = 'Another text'), []],
  [
    'a new field that may be null',
    ({ Alert }) => Alert.fields.push({ name: 'caseId', type: ['null', 'string'], default: null }),
    [],
  ],
  [
    'a new field without a default',
    ({ Alert }) => Alert.fields.push({ name: 'caseId', type: 'string' }),
    [/^breaking caseId: has no default .* in the topic \(Avro\)/],
  ],
  [
    'a removed field',
    ({ Payment }) => drop(Payment, 'currency'),
    [/^breaking evidence\.payment\.currency: .*that stay can’t read/],
  ],
  [
    'may be null now',
    ({ Alert }) => (field(Alert, 'cardId').type = ['null', 'string']),
    [/^breaking cardId: .*that stay/],
  ],
  [
    'may not be null any more',
    ({ Alert }) => Object.assign(field(Alert, 'score'), { type: 'double', default: 0 }),
    [/^breaking score: .*that move/],
  ],
  [
    'a wider number',
    ({ Alert }) => (field(Alert, 'occurredAt').type = 'double'),
    [/^breaking occurredAt: .*that stay/],
  ],
  ['a new symbol', ({ AlertDecision }) => AlertDecision.symbols.splice(1, 0, 'hold'), []],
  [
    'the default of an enum that went',
    ({ AlertDecision }) => {
      AlertDecision.symbols = ['review', 'hold'];
      delete AlertDecision.default;
    },
    [/^breaking decision: .*that move/],
  ],
  [
    'a renamed record',
    ({ FiredRule }) => (FiredRule.name = 'Rule'),
    [/^breaking rules\[\]: /, /^breaking rules\[\]: /],
  ],
];

describe('a change of the Avro schema', () => {
  it.each(avro)('%s', (_, change, expected) => {
    const after = read('alert.avsc');
    change(records(after), after);
    const found = short(compareAvroSchemas(read('alert.avsc'), after));
    expect(found.length, found.join('\n')).toBe(expected.length);
    expected.forEach((pattern, index) => {
      expect(found[index]).toMatch(pattern);
    });
  });
});

const events: readonly Case[] = [
  ['nothing', () => {}, []],
  ['other words', ({ messages }) => (messages.alert.summary = 'Another'), []],
  [
    'a topic of another name',
    (_, { channels }) => (channels.alerts.address = 'alerts'),
    [/^breaking channels\.alerts: was moved from fraud\.alerts to alerts/],
  ],
  ['a channel that went', (_, { channels }) => delete channels.labels, [/^breaking channels\.labels: was removed/]],
  [
    'another event type',
    ({ messages }) => (messages.alert.name = 'fraud.alert.v2'),
    [/^breaking messages\.alert\.name: was fraud\.alert\.v1, is fraud\.alert\.v2/],
  ],
  [
    'a header that went',
    ({ messages }) => delete messages.alert.headers.properties.ce_id,
    [/^breaking messages\.alert\.headers\.ce_id: was removed/],
  ],
  [
    'a new optional header',
    ({ messages }) => (messages.alert.headers.properties.ce_new = { type: 'string' }),
    [/^minor messages\.alert\.headers\.ce_new: is a new field/],
  ],
  [
    'a field of a roll-out that went',
    ({ messages }) => delete messages.takeUp.payload.properties.fromOffset,
    [/^breaking messages\.takeUp\.payload\.fromOffset: was removed/],
  ],
  [
    'a new message in a channel',
    ({ messages }, { channels }) => {
      channels.labels.messages.other = { $ref: '#/components/messages/other' };
      messages.other = messages.label;
    },
    [/^minor channels\.labels\.other: is a new message/],
  ],
];

describe('a change of what is in topics', () => {
  it.each(events)('%s', (_, change, expected) => {
    const after = read('asyncapi.json');
    change(after.components, after);
    const found = short(compareEvents(read('asyncapi.json'), after));
    expect(found.length, found.join('\n')).toBe(expected.length);
    expected.forEach((pattern, index) => {
      expect(found[index]).toMatch(pattern);
    });
  });
});

describe('releases', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'schemas-'));
    for (const name of readdirSync(schemas).filter((file) => file !== 'released')) {
      cpSync(join(schemas, name), join(directory, name));
    }
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const change = (file: string, how: (schema: Anything) => void) => {
    const schema = JSON.parse(readFileSync(join(directory, file), 'utf8'));
    how(schema);
    writeFileSync(join(directory, file), JSON.stringify(schema));
  };

  it('keep a copy that later schemas are held against, with the way out in words', () => {
    expect(say(checkSchemas(directory))).toEqual([expect.stringContaining('no schemas have been released yet')]);
    expect(releaseSchemas(directory, '0.1.0')).toContain('released/0.1.0');
    expect(say(checkSchemas(directory))).toEqual(['0 breaking and 0 other changes since the schemas of 0.1.0']);
    change('alert.schema.json', (schema) => delete schema.$defs.Alert.properties.score);
    const said = say(checkSchemas(directory)).join('\n');
    expect(said).toContain('BREAKS CONSUMERS  schemas/alert.schema.json score: was removed or renamed');
    expect(said).toContain('fraud.alert.v2');
    expect(() => releaseSchemas(directory, '1.0.0')).toThrow(/BREAKS CONSUMERS/);
  });

  it('need a minor version for what is new, and rise', () => {
    releaseSchemas(directory, '0.9.0');
    expect(() => releaseSchemas(directory, '0.9.0')).toThrow(/never changed/);
    expect(() => releaseSchemas(directory, '0.8.7')).toThrow(/not after 0\.9\.0/);
    expect(() => releaseSchemas(directory, 'next')).toThrow(/no version/);
    change('alert.schema.json', (schema) => schema.$defs.Alert.properties.decision.enum.push('hold'));
    expect(say(checkSchemas(directory))[0]).toMatch(/^needs a minor version {2}schemas\/alert\.schema\.json decision/);
    expect(() => releaseSchemas(directory, '0.9.1')).toThrow(/only a patch/);
    releaseSchemas(directory, '0.10.0');
    expect(checkSchemas(directory)).toEqual({ against: '0.10.0', changes: [] });
  });

  it('are held against all of them in Avro: what went may not come back as something else', () => {
    change('alert.avsc', (schema) => schema.fields.push({ name: 'caseId', type: ['null', 'string'], default: null }));
    releaseSchemas(directory, '0.1.0');
    change('alert.avsc', (schema) => schema.fields.pop());
    releaseSchemas(directory, '0.2.0');
    change('alert.avsc', (schema) => schema.fields.push({ name: 'caseId', type: ['null', 'long'], default: null }));
    const said = say(checkSchemas(directory)).join('\n');
    expect(said).toMatch(/schemas\/alert\.avsc caseId: .*against 0\.1\.0/);
  });

  it('notice a file that is missing', () => {
    releaseSchemas(directory, '0.1.0');
    rmSync(join(directory, 'alert.avsc'));
    expect(say(checkSchemas(directory))[0]).toBe('BREAKS CONSUMERS  schemas/alert.avsc (whole): is missing');
    mkdirSync(join(directory, 'released', 'drafts'));
    expect(checkSchemas(directory).against).toBe('0.1.0');
  });
});
