/**
 * Owns what settings demand of each other. Each check looks only at values that are valid by themselves, so that one
 * mistake is not reported twice. Neighbour: `load.ts` runs them after the schema.
 */
import type { ConfigurationProblem } from './problems.js';

/** A value that its own schema accepts. */
export interface Accepted {
  readonly value: unknown;
  readonly source: string;
  readonly rank: number;
}

type AcceptedValues = ReadonlyMap<string, Accepted>;
type Check = (accepted: AcceptedValues) => readonly ConfigurationProblem[];

/** Everything that does not go together. */
export function checkTogether(accepted: AcceptedValues): readonly ConfigurationProblem[] {
  return CHECKS.flatMap((check) => check(accepted));
}

function complain(accepted: AcceptedValues, path: string, message: string): ConfigurationProblem {
  const { source = 'default', value = undefined } = accepted.get(path) ?? {};
  const shown = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return { source, path, value: shown ? JSON.stringify(value) : null, message };
}

const given = (accepted: AcceptedValues, path: string): boolean => accepted.get(path)?.value !== undefined;

/** True where the setting failed its own schema: then nothing can be said of it. */
const refused = (accepted: AcceptedValues, path: string): boolean => !accepted.has(path);

const backendMatchesBrokers: Check = (accepted) => {
  const backend = accepted.get('backend');
  const brokers = accepted.get('kafka.brokers');
  if (backend === undefined || brokers === undefined) return [];
  const named = Array.isArray(brokers.value) && brokers.value.length > 0;
  if (backend.value === 'kafka' && !named) {
    return [complain(accepted, 'backend', 'Needs kafka.brokers: give --kafka host:port.')];
  }
  if (backend.value === 'embedded' && named && backend.rank === brokers.rank) {
    return [complain(accepted, 'backend', `Contradicts kafka.brokers (${brokers.source}); leave one of them out.`)];
  }
  return [];
};

const certificateHasKey =
  (certificate: string, key: string): Check =>
  (accepted) => {
    if (given(accepted, certificate) === given(accepted, key)) return [];
    const [present, missing] = given(accepted, certificate) ? [certificate, key] : [key, certificate];
    return refused(accepted, missing) ? [] : [complain(accepted, present, `Needs ${missing} as well.`)];
  };

/** Half of an access key would let the SDK look for another one, which may belong to somebody else. */
const s3KeyIsComplete: Check = (accepted) => {
  const [id, secret] = ['s3.accessKeyId', 's3.secretAccessKey'];
  if (refused(accepted, id) || refused(accepted, secret) || given(accepted, id) === given(accepted, secret)) return [];
  const [present, missing] = given(accepted, id) ? [id, secret] : [secret, id];
  return [complain(accepted, present, `Needs ${missing} as well.`)];
};

const avroHasRegistry: Check = (accepted) => {
  const format = accepted.get('payments.format');
  if (format === undefined || format.value === 'json') return [];
  if (refused(accepted, 'registry.url') || given(accepted, 'registry.url')) return [];
  return [complain(accepted, 'payments.format', 'Needs registry.url: the schema registry that producers write with.')];
};

const registryLogsInOnce: Check = (accepted) => {
  const [username, password, token] = ['registry.username', 'registry.password', 'registry.token'];
  if ([username, password, token].some((path) => refused(accepted, path))) return [];
  if (given(accepted, token) && given(accepted, username)) {
    return [complain(accepted, username, `Contradicts ${token}; leave one of them out.`)];
  }
  if (given(accepted, username) === given(accepted, password)) return [];
  const [present, missing] = given(accepted, username) ? [username, password] : [password, username];
  return [complain(accepted, present, `Needs ${missing} as well.`)];
};

const saslIsComplete: Check = (accepted) => {
  const paths = { mechanism: 'kafka.sasl.mechanism', username: 'kafka.sasl.username', password: 'kafka.sasl.password' };
  const mechanism = accepted.get(paths.mechanism);
  if (mechanism === undefined) return [];
  if (mechanism.value !== 'none') {
    return [paths.username, paths.password]
      .filter((path) => !refused(accepted, path) && !given(accepted, path))
      .map((path) => complain(accepted, paths.mechanism, `Needs ${path} as well.`));
  }
  return given(accepted, paths.username)
    ? [complain(accepted, paths.username, 'Is not used without kafka.sasl.mechanism; say which one the brokers want.')]
    : [];
};

/** Issuers on this machine are for trying things out; what another one sends in clear could be anybody's. */
const LOOPBACK = /^http:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])([:/]|$)/;

const issuerIsComplete: Check = (accepted) => {
  const [issuer, audience, local] = ['access.oidc.issuer', 'access.oidc.audience', 'access.local.enabled'];
  const address = accepted.get(issuer)?.value;
  if (typeof address !== 'string') return [];
  const problems: ConfigurationProblem[] = [];
  if (!given(accepted, audience) && !refused(accepted, audience)) {
    problems.push(complain(accepted, issuer, `Needs ${audience} as well.`));
  }
  if (!address.startsWith('https://') && !LOOPBACK.test(address)) {
    problems.push(complain(accepted, issuer, 'Must be an https address, unless the issuer is on this machine.'));
  }
  if (accepted.get(local)?.value === true) {
    problems.push(
      complain(
        accepted,
        local,
        `Is not possible beside ${issuer}: one of them has the users. For emergencies: access.apiKey.`,
      ),
    );
  }
  return problems;
};

const topicsDiffer: Check = (accepted) => {
  const firstByName = new Map<unknown, string>();
  const problems: ConfigurationProblem[] = [];
  for (const path of ['payments', 'byCard', 'alerts', 'deadLetters', 'stateLog', 'riskTable'].map(
    (key) => `topics.${key}`,
  )) {
    const name = accepted.get(path)?.value;
    if (name === undefined) continue;
    const first = firstByName.get(name);
    if (first === undefined) firstByName.set(name, path);
    else problems.push(complain(accepted, path, `Is the same topic as ${first}; each needs its own.`));
  }
  return problems;
};

/** Topics that the pipeline writes: reading them as payments would feed it its own output. */
const OWN_TOPICS = [
  'byCard',
  'alerts',
  'deadLetters',
  'stateLog',
  'riskTable',
  'rules',
  'rollouts',
  'labels',
  'outboxLog',
];

const keyingIsComplete: Check = (accepted) => {
  const [mode, topics, pattern] = ['keying.mode', 'keying.topics', 'keying.pattern'];
  if (refused(accepted, mode) || refused(accepted, topics) || refused(accepted, pattern)) return [];
  const names = accepted.get(topics)?.value as readonly string[];
  const regular = accepted.get(pattern)?.value;
  if (accepted.get(mode)?.value === 'trusted') {
    const unused = names.length > 0 ? topics : typeof regular === 'string' ? pattern : null;
    return unused === null ? [] : [complain(accepted, unused, 'Is not used unless keying.mode is repartition.')];
  }
  if (names.length > 0 && typeof regular === 'string') {
    return [complain(accepted, pattern, 'Contradicts keying.topics; leave one of them out.')];
  }
  const whole = typeof regular === 'string' ? new RegExp(`^(?:${regular})$`) : null;
  const stateLog = accepted.get('topics.stateLog')?.value;
  if (whole !== null && ['-g2', '-repartition-payments'].some((end) => whole.test(`${stateLog}${end}`))) {
    return [complain(accepted, pattern, `Matches state logs (${stateLog}-…), which are written here.`)];
  }
  return OWN_TOPICS.flatMap((key) => {
    const own = accepted.get(`topics.${key}`)?.value;
    if (typeof own !== 'string') return [];
    if (whole?.test(own))
      return [complain(accepted, pattern, `Matches topics.${key} (${own}), which is written here.`)];
    return names.includes(own)
      ? [complain(accepted, topics, `Names topics.${key} (${own}), which is written here.`)]
      : [];
  });
};

const below =
  (smaller: string, larger: string): Check =>
  (accepted) => {
    const low = accepted.get(smaller)?.value;
    const high = accepted.get(larger)?.value;
    if (typeof low !== 'number' || typeof high !== 'number' || low < high) return [];
    return [complain(accepted, smaller, `Must be less than ${larger} (${high}).`)];
  };

const CHECKS: readonly Check[] = [
  backendMatchesBrokers,
  certificateHasKey('kafka.ssl.certFile', 'kafka.ssl.keyFile'),
  certificateHasKey('registry.ssl.certFile', 'registry.ssl.keyFile'),
  s3KeyIsComplete,
  avroHasRegistry,
  registryLogsInOnce,
  saslIsComplete,
  issuerIsComplete,
  topicsDiffer,
  keyingIsComplete,
  below('embeddedLog.retentionMiB', 'embeddedLog.maxMiB'),
  below('kafka.deadlineMs', 'kafka.transactionTimeoutMs'),
  below('patterns.cardTesting.smallMaxMinor', 'patterns.cardTesting.largeMinMinor'),
];
