/**
 * Owns how settings are shown: the text of `--help`, the page docs/CONFIGURATION.md, both made from the schema, and
 * what a process says of its own settings. Neighbours: `setting.ts` describes, `load.ts` holds the list.
 */
import { type Configuration, SETTINGS } from './load.js';
import type { Setting } from './setting.js';

/** Groups in words, by the first key of a setting's path. */
const GROUP_TITLES: Readonly<Record<string, string>> = {
  general: 'General',
  http: 'HTTP',
  access: 'Access',
  pipeline: 'Pipeline',
  topics: 'Topics',
  keying: 'Keying',
  payments: 'Payments',
  registry: 'Schema registry',
  kafka: 'Kafka',
  embeddedLog: 'Embedded log',
  batch: 'Batches',
  epoch: 'Epochs',
  watermark: 'Event time',
  checkpoint: 'Checkpoints',
  memory: 'Memory',
  deadLetters: 'Dead letters',
  merchantRisk: 'Merchant-risk lookup',
  model: 'Model',
  patterns: 'Patterns',
  rules: 'Rules',
  cardToken: 'Card tokens',
  demo: 'Simulated card world',
  postgres: 'Postgres',
  terminal: 'Terminal',
  log: 'Log',
};

/** Settings by group, in the schema's order. */
export function settingGroups(
  settings: readonly Setting[] = SETTINGS,
): readonly { title: string; settings: readonly Setting[] }[] {
  const groups = new Map<string, Setting[]>();
  for (const setting of settings) {
    const title = GROUP_TITLES[setting.group] ?? setting.group;
    const members = groups.get(title);
    if (members === undefined) groups.set(title, [setting]);
    else members.push(setting);
  }
  return [...groups].map(([title, members]) => ({ title, settings: members }));
}

/** Breaks text into lines of at most `width` characters, at spaces; a longer word stands alone. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return line === '' ? lines : [...lines, line];
}

/** The default in words, with its unit. */
function defaultInWords(setting: Setting): string {
  if (setting.about.defaultNote !== undefined) return setting.about.defaultNote;
  const value = setting.defaultValue;
  if (value === undefined) return 'none';
  const text = Array.isArray(value) ? value.join(',') : String(value);
  return setting.about.unit ? `${text} ${setting.about.unit}` : text;
}

function placeholder(setting: Setting): string {
  switch (setting.kind) {
    case 'boolean':
      return '';
    case 'whole':
    case 'number':
      return ' N';
    case 'list':
      return ' A,B';
    case 'text':
      return setting.about.path ? ' PATH' : ' TEXT';
  }
}

/** Text of `npm start -- --help`, at most `width` columns wide. */
export function helpText(width: number): string {
  const columns = Math.max(40, Math.min(width, 120));
  const lines: string[] = [];
  const paragraph = (text: string, indent: number) => {
    for (const line of wrap(text, columns - indent)) lines.push(' '.repeat(indent) + line);
  };
  lines.push('Usage: npm start -- [flags]', '       npx fraud start [flags]', '');
  paragraph(
    'Every setting can be given as a flag, as an environment variable, or in a JSON or YAML file (--config FILE, else ' +
      'fraud.config.json, .yaml or .yml in the working directory). A flag wins over a variable, a variable over the file.',
    0,
  );
  lines.push('', 'Examples');
  lines.push(
    '  npm start -- --fresh',
    '  npm start -- --kafka 127.0.0.1:9092 --port 8080',
    '  FRAUD_EPOCH_MAX_MS=50 npm start',
  );
  lines.push('', 'Flags that are no settings');
  lines.push('  --config PATH', '  --help', '  --version');
  for (const group of settingGroups()) {
    lines.push('', group.title);
    for (const setting of group.settings) {
      const flags = [...setting.flags].reverse().map((flag) => `--${flag}${placeholder(setting)}`);
      lines.push(`  ${flags.join(', ')}`);
      paragraph(setting.about.doc, 6);
      const allowed = setting.kind === 'boolean' ? '' : `${setting.allowed}; `;
      paragraph(`${allowed}default: ${defaultInWords(setting)}; ${setting.variables.join(' or ')}`, 6);
    }
  }
  return `${lines.join('\n')}\n`;
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** The page docs/CONFIGURATION.md. */
export function configurationPage(): string {
  const lines = [
    '# Configuration',
    '',
    '<!-- Made from src/app/configuration/schema.ts; a test compares. After a change of the schema:',
    '     npx vitest run test/unit/configuration -u -->',
    '',
    'Every setting has a path, a flag and an environment variable; the last two follow from the first. Sources in rising',
    'precedence: defaults, a JSON or YAML file (`--config FILE` or `FRAUD_CONFIG`, else `fraud.config.json`, `.yaml` or `.yml` in the',
    'working directory), environment variables, flags. Switches are turned off by `--no-…`; lists are separated by commas.',
    'Paths in a file are meant from that file’s directory, all others from the working directory. Whatever is wrong is',
    'reported at once, before anything starts, with exit code 2.',
    '',
    '```yaml',
    '# fraud.config.yaml',
    'dataDir: /var/lib/fraud',
    'kafka:',
    '  brokers: [kafka-1:9092, kafka-2:9092]',
    'epoch:',
    '  maxMs: 50',
    '```',
  ];
  for (const group of settingGroups()) {
    lines.push('', `## ${group.title}`, '', '| Setting | What it is | Allowed | Default |', '|---|---|---|---|');
    for (const setting of group.settings) {
      const names = [
        `\`${setting.path}\``,
        ...setting.flags.map((flag) => `\`--${flag}\``),
        ...setting.variables.map((variable) => `\`${variable}\``),
      ].join('<br>');
      const secret = setting.about.secret ? ' Never shown.' : '';
      lines.push(
        `| ${names} | ${cell(setting.about.doc + secret)} | ${cell(setting.allowed)} | ${cell(defaultInWords(setting))} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Settings that are not at their defaults, one a line, with where they came from; secrets hidden. */
export function describeOrigins(configuration: Configuration): readonly string[] {
  return SETTINGS.filter((setting) => configuration.origins[setting.path] !== undefined).map((setting) => {
    const value = setting.keys.reduce<unknown>(
      (group, key) => (group as Record<string, unknown> | undefined)?.[key],
      configuration,
    );
    const shown = setting.about.secret ? '(hidden)' : JSON.stringify(value);
    return `${setting.path} = ${shown} (${configuration.origins[setting.path]})`;
  });
}
