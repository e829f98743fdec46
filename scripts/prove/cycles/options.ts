/** Owns the flags of the proof by cycles. Neighbours: `../main.ts` asks, docs/PROVING.md lists them. */
import { parseArgs } from 'node:util';
import { UsageError, wholeNumber } from '../flags.js';
import { nemesesNamed } from '../nemeses/catalogue.js';
import type { Nemesis } from '../nemeses/nemesis.js';
import type { CyclesOptions } from './proof.js';
import type { RecoveryOptions } from './recovery.js';

const PORT = 19_800;
const PARTITIONS = 4;

export function readCyclesOptions(argv: readonly string[]): CyclesOptions & { readonly json: string | null } {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      cycles: text,
      seed: text,
      instances: text,
      nemeses: text,
      cluster: text,
      secure: flag,
      rate: text,
      cards: text,
      standbys: text,
      'session-ms': text,
      partitions: text,
      port: text,
      json: text,
      keep: flag,
    },
  });
  const cluster = values.cluster ?? '1';
  if (cluster !== '1' && cluster !== '3') throw new UsageError(`--cluster must be 1 or 3; it is ${cluster}`);
  return {
    cycles: wholeNumber('cycles', values.cycles, 50, 1),
    seed: wholeNumber('seed', values.seed, Date.now() % 1_000_000, 0),
    instances: wholeNumber('instances', values.instances, 2, 1),
    nemeses: named(values.nemeses),
    brokers: cluster === '3' ? 3 : 1,
    secure: values.secure,
    rate: wholeNumber('rate', values.rate, 1_000, 10),
    cards: wholeNumber('cards', values.cards, 5_000, 100),
    standbys: wholeNumber('standbys', values.standbys, 0, 0),
    sessionTimeoutMs: wholeNumber('session-ms', values['session-ms'], 6_000, 1_000),
    partitions: wholeNumber('partitions', values.partitions, PARTITIONS, 1),
    port: wholeNumber('port', values.port, PORT, 1_024),
    keep: values.keep,
    json: values.json ?? null,
  };
}

export function readRecoveryOptions(argv: readonly string[]): RecoveryOptions & { readonly json: string | null } {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      cards: text,
      seed: text,
      rate: text,
      restarts: text,
      others: text,
      partitions: text,
      'standby-session-ms': text,
      port: text,
      json: text,
      keep: { type: 'boolean', default: false },
    },
  });
  return {
    cards: wholeNumber('cards', values.cards, 1_000_000, 1_000),
    seed: wholeNumber('seed', values.seed, Date.now() % 1_000_000, 0),
    rate: wholeNumber('rate', values.rate, 1_000, 10),
    restarts: wholeNumber('restarts', values.restarts, 10, 0),
    others: wholeNumber('others', values.others, 3, 0),
    partitions: wholeNumber('partitions', values.partitions, PARTITIONS, 1),
    standbySessionMs: wholeNumber('standby-session-ms', values['standby-session-ms'], 1_500, 1_000),
    port: wholeNumber('port', values.port, PORT, 1_024),
    keep: values.keep,
    json: values.json ?? null,
  };
}

function named(names: string | undefined): readonly Nemesis[] {
  try {
    return nemesesNamed((names ?? '').split(',').filter(Boolean));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
