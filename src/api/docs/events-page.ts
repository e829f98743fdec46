/**
 * Owns the page `/docs/events`: the AsyncAPI document as plain HTML made on the server, no script at all. Neighbours:
 * `asyncapi.ts` makes the document, `docs-page.ts` serves the page and its style sheet.
 */
import type { AsyncApiDocument, EventChannel, EventMessage, SchemaNode } from './asyncapi.js';

export const EVENTS_STYLE = `body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; width: 100%; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .5rem; text-align: left; vertical-align: top; }
th { background: #f2f2f2; }
td:first-child code { white-space: nowrap; }
code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
a { color: #0b57d0; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616; } th { background: #262626; } th, td { border-color: #444; } a { color: #8ab4f8; }
}
`;

const COMPONENT = '#/components/schemas/';

export function renderEventsPage(document: AsyncApiDocument): string {
  const { info, channels, components } = document;
  const sections = Object.entries(channels).map(([name, channel]) => renderChannel(document, name, channel));
  const schemas = Object.entries(components.schemas).map(
    ([name, node]) => `<h3 id="schema-${html(name)}">${html(name)}</h3>${renderObject(node)}`,
  );
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${html(info.title)}</title>
    <link rel="stylesheet" href="/docs/events.css">
    <link rel="icon" href="/docs/favicon-32x32.png">
  </head>
  <body>
    <h1>${html(info.title)}</h1>
    <p>Version ${html(info.version)}. ${html(String(info.description))}</p>
    <p>
      <a href="/asyncapi.json">AsyncAPI document</a> ·
      <a href="/schemas/alert.schema.json">alert in JSON Schema</a> ·
      <a href="/schemas/alert.avsc">alert in Avro</a> ·
      <a href="/schemas/label.schema.json">label in JSON Schema</a> ·
      <a href="/schemas/payment.avsc">payment in Avro</a> ·
      <a href="/docs">the REST API</a>
    </p>
    <ul>${Object.entries(channels).map(tableOfContents).join('')}</ul>
    ${sections.join('\n    ')}
    <h2 id="schemas">Schemas</h2>
    ${schemas.join('\n    ')}
  </body>
</html>
`;
}

const tableOfContents = ([name, { address, title }]: [string, EventChannel]) =>
  `<li><a href="#${html(name)}">${html(title)}</a>: <code>${html(address)}</code></li>`;

function renderChannel({ components }: AsyncApiDocument, name: string, channel: EventChannel): string {
  const messages = Object.keys(channel.messages).map((message) => renderMessage(components.messages[message]));
  const settings = channel.bindings.kafka.topicConfiguration;
  return `<h2 id="${html(name)}">${html(channel.title)}: <code>${html(channel.address)}</code></h2>
    <p>${html(channel.description)}</p>
    <p>Made with <code>${html(JSON.stringify(settings))}</code>.</p>
    ${messages.join('\n    ')}`;
}

function renderMessage(message: EventMessage | undefined): string {
  if (message === undefined) return '';
  const { name, title, summary, contentType, headers, payload, bindings } = message;
  const { key } = bindings.kafka;
  return `<h3>${html(title)}: <code>${html(name)}</code></h3>
    <p>${html(summary)}.</p>
    <p>Key: ${html(key.description ?? '')}. Value: <code>${html(contentType)}</code>, ${typeText(payload)}.</p>
    ${headers === undefined ? '<p>No headers.</p>' : `<h4>Headers</h4>${renderObject(headers)}`}
    ${payload.properties === undefined ? '' : `<h4>Value</h4>${renderObject(payload)}`}`;
}

/** The fields of an object, those of objects without a name in the same table, under a path. */
function renderObject(node: SchemaNode): string {
  const about = node.description === undefined ? '' : `<p>${html(node.description)}.</p>`;
  if (node.properties === undefined && node.oneOf === undefined) return `${about}<p>${typeText(node)}</p>`;
  if (node.oneOf !== undefined) {
    const variants = node.oneOf.map((variant, index) => `<p>Form ${index + 1}</p>${renderObject(variant)}`);
    return `${about}<p>One of ${node.oneOf.length} forms:</p>${variants.join('')}`;
  }
  const rows = fieldRows(node, '').join('');
  return `${about}<table><thead><tr><th>Field</th><th>Type</th><th></th><th>What it is</th></tr></thead><tbody>${rows}</tbody></table>`;
}

function fieldRows(node: SchemaNode, path: string): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, field]) => {
    const inner = field.anyOf?.find((part) => part.type !== 'null') ?? field;
    const required = node.required?.includes(name) === true ? 'required' : 'optional';
    const about = field.description ?? inner.description ?? '';
    const row = `<tr><td><code>${html(path + name)}</code></td><td>${typeText(field)}</td><td>${required}</td><td>${html(about)}</td></tr>`;
    return [row, ...fieldRows(inner, `${path}${name}.`)];
  });
}

/** A type in words, as HTML, with a link where it has a section of its own. */
function typeText(node: SchemaNode): string {
  if (node.$ref !== undefined) {
    const name = html(node.$ref.slice(COMPONENT.length));
    return `<a href="#schema-${name}">${name}</a>`;
  }
  const choice = node.anyOf ?? node.oneOf;
  if (choice !== undefined) return choice.map(typeText).join(' or ');
  if (node.const !== undefined) return `<code>${html(JSON.stringify(node.const))}</code>`;
  if (node.enum !== undefined)
    return node.enum.map((value) => `<code>${html(JSON.stringify(value))}</code>`).join(' or ');
  if (node.items !== undefined) return `array of ${typeText(node.items)}`;
  if (typeof node.additionalProperties === 'object') return `object of ${typeText(node.additionalProperties)}`;
  const types = Array.isArray(node.type) ? node.type.join(' or ') : String(node.type ?? 'anything');
  return html(node.format === undefined ? types : `${types} (${node.format})`);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const html = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
