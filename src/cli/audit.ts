/**
 * Owns `fraud audit verify`: walks the audit trail from its beginning and says whether it is whole. Exit code 0 where it
 * is, 1 where it is not or could not be read. Neighbours: `src/fraud/audit` judges, `src/adapters/postgres` reads.
 */
import { verifyAudit } from '../adapters/postgres/audit-verification.js';
import { withServiceDatabase } from '../app/access-database.js';
import { type AuditHead } from '../fraud/audit/audit-reading.js';
import { FIRST_PREVIOUS_HASH } from '../fraud/audit/audit-trail.js';
import { type Command, type Invocation, type Surroundings, textFlag, UsageError } from './command.js';
import { openProgress } from './progress.js';

const HEAD = /^(\d{1,15}):([0-9a-f]{64})$/;

export const auditCommand: Command = {
  name: 'audit',
  words: 'verify',
  summary: 'Prove that the audit trail is as it was written: nothing changed, removed or slipped in.',
  flags: {
    head: {
      kind: 'value',
      value: 'SEQUENCE:HASH',
      doc: 'A head noted earlier (from here or from /v1/audit/head): shows as well that nothing was cut off at the end, nor all of it written anew.',
    },
    json: { kind: 'switch', doc: 'Print one JSON object.' },
  },
  examples: [
    'fraud audit verify',
    'fraud audit verify --postgres-url-file /run/secrets/postgres-url --json',
    'fraud audit verify --head 1204:9f0c…',
  ],
  run: async (invocation, surroundings) => {
    if (invocation.words.length !== 1 || invocation.words[0] !== 'verify') {
      throw new UsageError('Say verify. See: fraud audit --help');
    }
    return verify(invocation, surroundings);
  },
};

async function verify(invocation: Invocation, surroundings: Surroundings): Promise<number> {
  const noted = notedHead(invocation);
  const progress = openProgress(surroundings);
  const { checked, head, fault } = await withServiceDatabase(invocation.configuration, surroundings.tell, (url) =>
    verifyAudit({
      url,
      noted,
      signal: surroundings.signal,
      onProgress: (done, total) => progress.update(total === 0 ? 1 : done / total, `${done} of ${total} entries`),
    }),
  ).finally(() => progress.end());
  const { print } = surroundings;
  if (invocation.flags.get('json') === true) {
    const shown = { whole: fault === null, checked, head: head ?? { sequence: 0, hash: FIRST_PREVIOUS_HASH }, fault };
    print(JSON.stringify(shown));
  } else if (fault === null) {
    print(`The audit trail is whole: ${checked} ${checked === 1 ? 'entry' : 'entries'} checked.`);
    print(head === null ? 'It is empty.' : `Head: ${head.sequence}:${head.hash}`);
    if (noted === null) print('Note the head elsewhere and give it with --head next time: it shows what was cut off.');
  } else {
    print(`The audit trail is NOT whole: ${fault.message}.`);
    print(`${checked} entries before it are as they were written; nothing is certain from there on.`);
  }
  return fault === null ? 0 : 1;
}

function notedHead(invocation: Invocation): AuditHead | null {
  const text = textFlag(invocation, 'head');
  if (text === null) return null;
  const found = HEAD.exec(text);
  if (found === null)
    throw new UsageError(`--head must be SEQUENCE:HASH, as fraud audit verify prints it; it is ${text}.`);
  const [, sequence = '', hash = ''] = found;
  return { sequence: Number(sequence), hash };
}
