/**
 * Owns the AsyncAPI document: what this service writes to Kafka for others, made from the zod schemas that the code
 * itself writes and reads by. Neighbours: `events-page.ts` shows it, `docs-page.ts` serves it, `schemas/asyncapi.json`
 * keeps it for diffs (with the default topic names), docs/ALERT-CONTRACT.md says what is promised.
 */
import { z } from 'zod';
import { ALERT_EVENT_TYPE } from '../../fraud/alerts/alert.js';
import { ALERT_SCHEMA_URN, alertSchema } from '../../fraud/alerts/alert-schema.js';
import { labelSchema } from '../../fraud/labels/label.js';
import { OUTBOX_SEQUENCE_HEADER } from '../../fraud/outbox/relay.js';
import { ruleTripSchema, takeUpSchema } from '../../fraud/rules/rollout.js';
import { DEAD_LETTER_HEADERS } from '../../stream/pipeline/dead-letters.js';

/** The topics as this deployment names them. */
export interface EventTopics {
  readonly alerts: string;
  readonly deadLetters: string;
  readonly labels: string;
  readonly rollouts: string;
}

/** A JSON Schema (draft 7, as AsyncAPI 3.0 has it), as far as the page reads it. */
export interface SchemaNode {
  readonly $ref?: string;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly format?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly [keyword: string]: unknown;
}

/** As the configuration has them where it says nothing else. */
export const DEFAULT_TOPICS: EventTopics = {
  alerts: 'fraud.alerts',
  deadLetters: 'payments.dead-letters',
  labels: 'fraud.labels',
  rollouts: 'fraud.rule-rollouts',
};

interface Reference {
  readonly $ref: string;
}

export interface EventMessage {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  readonly contentType: string;
  readonly headers?: SchemaNode;
  readonly payload: SchemaNode;
  readonly bindings: { readonly kafka: { readonly key: SchemaNode; readonly bindingVersion: string } };
}

export interface EventChannel {
  readonly address: string;
  readonly title: string;
  readonly description: string;
  readonly messages: Readonly<Record<string, Reference>>;
  readonly bindings: { readonly kafka: Readonly<Record<string, unknown>> };
}

export interface AsyncApiDocument {
  readonly asyncapi: '3.0.0';
  readonly info: Readonly<Record<string, unknown>> & { readonly title: string; readonly version: string };
  readonly defaultContentType: string;
  readonly servers: Readonly<Record<string, unknown>>;
  readonly channels: Readonly<Record<string, EventChannel>>;
  readonly operations: Readonly<Record<string, unknown>>;
  readonly components: {
    readonly messages: Readonly<Record<string, EventMessage>>;
    readonly schemas: Readonly<Record<string, SchemaNode>>;
  };
}

const BINDING_VERSION = '0.5.0';
const DEFINITIONS = '#/definitions/';
const COMPONENTS = '#/components/schemas/';

const text = (description: string, more: SchemaNode = {}): SchemaNode => ({ type: 'string', ...more, description });
const digits = (description: string): SchemaNode => text(description, { pattern: '^[0-9]+$' });

const ALERT_HEADERS: SchemaNode = {
  type: 'object',
  required: [
    'ce_specversion',
    'ce_id',
    'ce_source',
    'ce_type',
    'ce_time',
    'ce_subject',
    'ce_dataschema',
    'ce_traceparent',
    'traceparent',
    'content-type',
  ],
  properties: {
    ce_specversion: text('CloudEvents version', { const: '1.0' }),
    ce_id: text("The alert's id: the same after every replay. Take it for the key of what you do"),
    ce_source: text('/fraud-detection/<topic>/<partition> of the payment'),
    ce_type: text('Changes only with a breaking change', { const: ALERT_EVENT_TYPE }),
    ce_time: text('When the alert was made', { format: 'date-time' }),
    ce_subject: text("The payment's id, or the card's token where a timer raised the alert"),
    ce_dataschema: text('Names the schema of the value', { const: ALERT_SCHEMA_URN }),
    ce_traceparent: text("The payment's trace, or one whose id is the alert's (Distributed Tracing extension)"),
    ce_tracestate: text('As it came with the payment; missing where none did'),
    traceparent: text('The same for agents that look for the plain name (W3C Trace Context)'),
    tracestate: text('The same for agents that look for the plain name'),
    'content-type': text('Of the value', { const: 'application/json' }),
    'origin.topic': text('With keying.mode repartition: the topic that the payment came in by'),
    'origin.partition': digits('And its partition there'),
    'origin.offset': digits('And its offset there'),
  },
};

const DEAD_LETTER_FIELDS: Readonly<Record<keyof typeof DEAD_LETTER_HEADERS, SchemaNode>> = {
  code: text('Stable code of what was wrong'),
  message: text('What was wrong, in words; card numbers masked'),
  topic: text('Where the record lay'),
  partition: digits('Where the record lay'),
  offset: digits('Where the record lay'),
  timestamp: digits("The record's time in the log, ms since 1970"),
  pipeline: text('Version of the pipeline that refused it'),
  schemaId: digits("Id of the writer's schema in the registry; missing where the record names none"),
  part: digits('Of a record spread over several dead letters: number of this part, from 0'),
  parts: digits('Of a record spread over several dead letters: how many there are'),
  keyBytes: digits('So many first bytes of the joined value are the key, which was too long for one'),
  nullValue: text('The value was null', { const: 'true' }),
};
const ALWAYS = ['code', 'message', 'topic', 'partition', 'offset', 'timestamp', 'pipeline'] as const;

/** The document for these topics. `version` is the product's. */
export function makeAsyncApiDocument(version: string, topics: EventTopics): AsyncApiDocument {
  const { payloads, schemas } = convert({
    alert: alertSchema,
    label: labelSchema,
    takeUp: takeUpSchema,
    ruleTrip: ruleTripSchema,
  });
  const messages = eventMessages(payloads);
  const days = (count: number) => ({ 'retention.ms': count * 86_400_000 });
  const channels = {
    alerts: channel(topics.alerts, 'Alerts', ALERTS_TEXT, ['alert'], { 'cleanup.policy': ['delete'], ...days(90) }),
    deadLetters: channel(topics.deadLetters, 'Dead letters', DEAD_LETTERS_TEXT, ['deadLetter'], {
      'cleanup.policy': ['delete'],
      ...days(90),
    }),
    labels: channel(topics.labels, 'Labels', LABELS_TEXT, ['label'], {
      'cleanup.policy': ['delete'],
      'retention.ms': -1,
    }),
    ruleRollouts: channel(topics.rollouts, 'Rule roll-outs', ROLLOUTS_TEXT, ['takeUp', 'ruleTrip'], {
      'cleanup.policy': ['compact'],
    }),
  };
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Payment fraud detector: events',
      version,
      description:
        'What the detector writes to Kafka for others. Read with isolation.level=read_committed: then each record is ' +
        'there exactly once, also after crashes. Times are ms since 1970, money is in minor units. Readers ignore ' +
        'fields and headers that they do not know.',
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    defaultContentType: 'application/json',
    servers: {
      kafka: {
        host: '{broker}',
        protocol: 'kafka',
        description: 'The cluster that the detector runs on',
        variables: { broker: { default: '127.0.0.1:9092', description: 'Host and port of any of its brokers' } },
      },
    },
    channels,
    operations: Object.fromEntries(
      Object.keys(channels).map((name) => [
        `write${name.charAt(0).toUpperCase()}${name.slice(1)}`,
        { action: 'send', channel: { $ref: `#/channels/${name}` } },
      ]),
    ),
    components: { messages, schemas },
  };
}

const ALERTS_TEXT =
  'One record for each payment to review or decline, and for each card-testing sequence that ended by time. CloudEvents ' +
  '1.0 in Kafka binary mode. Keyed by card, so a card’s alerts are in order. Written in the same Kafka transaction as ' +
  'the offsets of the payments that they were made from. The value in Avro, for those who register it: ' +
  '/schemas/alert.avsc.';
const DEAD_LETTERS_TEXT =
  'Records that could not be read or validated, byte for byte as they came, with what was wrong in the headers.';
const LABELS_TEXT =
  'What analysts found alerts to be. Never changed: a later disposition is a new label that supersedes the earlier one.';
const ROLLOUTS_TEXT =
  'Which rule set each task runs and from which offset on, written with the epoch in which it took effect; and rules ' +
  'that a task’s breaker switched off.';

function eventMessages(payloads: Readonly<Record<PayloadName, SchemaNode>>): Record<string, EventMessage> {
  const card = text("The card's token, UTF-8");
  const rollout = { contentType: 'application/json' };
  return {
    alert: {
      name: ALERT_EVENT_TYPE,
      title: 'Alert',
      summary: 'A payment or card to review or decline, with the evidence to recompute it',
      contentType: 'application/json',
      headers: ALERT_HEADERS,
      payload: payloads.alert,
      bindings: keyed(card),
    },
    deadLetter: {
      name: 'payments.dead-letter',
      title: 'Dead letter',
      summary: 'A record that could not be processed',
      contentType: 'application/octet-stream',
      headers: {
        type: 'object',
        required: ALWAYS.map((name) => DEAD_LETTER_HEADERS[name]),
        properties: Object.fromEntries(
          Object.entries(DEAD_LETTER_FIELDS).map(([name, node]) => [
            DEAD_LETTER_HEADERS[name as keyof typeof DEAD_LETTER_HEADERS],
            node,
          ]),
        ),
      },
      payload: text('The value as it came', { format: 'binary' }),
      bindings: keyed(text('The key as it came', { format: 'binary' })),
    },
    label: {
      name: 'fraud.label.v1',
      title: 'Label',
      summary: 'What an analyst found an alert to be',
      contentType: 'application/json',
      headers: {
        type: 'object',
        properties: {
          [OUTBOX_SEQUENCE_HEADER]: digits('Rises in the order in which changes were made; for our own use'),
        },
      },
      payload: payloads.label,
      bindings: keyed(card),
    },
    takeUp: {
      name: 'fraud.rule-take-up.v1',
      title: 'Take-up',
      summary: 'A task runs a rule set, or refused the newest one',
      ...rollout,
      payload: payloads.takeUp,
      bindings: keyed(text('The task’s id')),
    },
    ruleTrip: {
      name: 'fraud.rule-trip.v1',
      title: 'Rule trip',
      summary: 'A rule failed too often and no longer runs in a task',
      ...rollout,
      payload: payloads.ruleTrip,
      bindings: keyed(text('<task’s id>/<rule’s id>')),
    },
  };
}

const keyed = (key: SchemaNode) => ({ kafka: { key, bindingVersion: BINDING_VERSION } });

function channel(
  address: string,
  title: string,
  description: string,
  messages: readonly string[],
  topicConfiguration: Readonly<Record<string, unknown>>,
): EventChannel {
  return {
    address,
    title,
    description,
    messages: Object.fromEntries(messages.map((name) => [name, { $ref: `#/components/messages/${name}` }])),
    bindings: { kafka: { topic: address, topicConfiguration, bindingVersion: BINDING_VERSION } },
  };
}

type PayloadName = 'alert' | 'label' | 'takeUp' | 'ruleTrip';

/** Zod schemas as AsyncAPI's, those with names of their own apart. */
function convert(zods: Readonly<Record<PayloadName, z.ZodType>>) {
  const schemas: Record<string, SchemaNode> = {};
  const payload = (name: PayloadName): SchemaNode => {
    const made = z.toJSONSchema(zods[name], { target: 'draft-7', io: 'input' });
    const text = JSON.stringify(made).replaceAll(DEFINITIONS, COMPONENTS);
    const {
      $schema: _,
      definitions,
      ...own
    } = JSON.parse(text) as SchemaNode & {
      readonly definitions?: Readonly<Record<string, SchemaNode>>;
    };
    Object.assign(schemas, definitions);
    return own;
  };
  const payloads = {
    alert: payload('alert'),
    label: payload('label'),
    takeUp: payload('takeUp'),
    ruleTrip: payload('ruleTrip'),
  };
  return { payloads, schemas };
}
