/**
 * Owns the comparison of a run with the reference. Pure. Neighbours: `runs.ts` gathers what is compared, `report.ts`
 * prints the verdict.
 */
import type { AlertOutcome, DeadLetterOutcome } from './outcome.js';

export interface Expected {
  readonly alerts: ReadonlyMap<string, AlertOutcome>;
  readonly deadLetters: readonly DeadLetterOutcome[];
  readonly cards: readonly ReadonlyMap<string, string>[];
}

export interface Found {
  readonly alerts: readonly AlertOutcome[];
  readonly deadLetters: readonly DeadLetterOutcome[];
  readonly cards: readonly ReadonlyMap<string, string>[];
}

/** Counts, and the first differences in words. A run is right when `differences` is empty. */
export interface Verdict {
  readonly alerts: number;
  readonly distinctAlerts: number;
  /** Expected alerts that are not there. */
  readonly lost: number;
  /** Alerts that are there once more than they should be. */
  readonly doubled: number;
  /** Alerts that nobody expected. */
  readonly foreign: number;
  /** Alerts with the right id and other content. */
  readonly altered: number;
  readonly deadLetters: number;
  readonly deadLettersWrong: number;
  readonly cardsWrong: number;
  readonly differences: readonly string[];
}

/** Differences of each sort told in full. */
const TOLD = 5;

export function compare(expected: Expected, found: Found): Verdict {
  const told = new Told();
  const alerts = compareAlerts(expected.alerts, found.alerts, told);
  const deadLettersWrong = compareDeadLetters(expected.deadLetters, found.deadLetters, told);
  const cardsWrong = compareCards(expected.cards, found.cards, told);
  const deadLetters = found.deadLetters.length;
  return { ...alerts, deadLetters, deadLettersWrong, cardsWrong, differences: told.lines };
}

/**
 * Compares while a run goes on. `expected`: alerts that must be there by now; others may be there as well. Returns the
 * differences in words.
 */
export function compareAlertsSoFar(expected: Expected['alerts'], found: readonly AlertOutcome[]): readonly string[] {
  const told = new Told();
  const seen = new Set<string>();
  const among = found.filter(({ id }) => {
    // A doubled one counts whether it was expected already or not.
    const isDoubled = seen.has(id);
    seen.add(id);
    if (isDoubled) told.add('doubled alert', id);
    return !isDoubled && expected.has(id);
  });
  compareAlerts(expected, among, told);
  return told.lines;
}

/** Differences in words: the first ones of each sort, and how many more there are. */
class Told {
  private readonly bySort = new Map<string, { count: number; readonly first: string[] }>();

  add(sort: string, line: string): void {
    const known = this.bySort.get(sort) ?? { count: 0, first: [] };
    this.bySort.set(sort, known);
    known.count += 1;
    if (known.first.length < TOLD) known.first.push(`${sort}: ${line}`);
  }

  get lines(): readonly string[] {
    return [...this.bySort].flatMap(([sort, { count, first }]) =>
      count > first.length ? [...first, `${sort}: ${count - first.length} more`] : first,
    );
  }
}

function compareAlerts(expected: Expected['alerts'], found: readonly AlertOutcome[], told: Told) {
  const seen = new Set<string>();
  let doubled = 0;
  let foreign = 0;
  let altered = 0;
  for (const alert of found) {
    const wanted = expected.get(alert.id);
    if (seen.has(alert.id)) {
      doubled += 1;
      told.add('doubled alert', `${alert.id} (${alert.summary})`);
    } else if (wanted === undefined) {
      foreign += 1;
      told.add('foreign alert', `${alert.id} (${alert.summary})`);
    } else if (wanted.digest !== alert.digest) {
      altered += 1;
      const degraded = alert.degraded ? ', degraded' : '';
      told.add('altered alert', `${alert.id} is (${alert.summary}${degraded}), the reference has (${wanted.summary})`);
    }
    seen.add(alert.id);
  }
  let lost = 0;
  for (const [id, { summary }] of expected) {
    if (seen.has(id)) continue;
    lost += 1;
    told.add('lost alert', `${id} (${summary})`);
  }
  return { alerts: found.length, distinctAlerts: seen.size, lost, doubled, foreign, altered };
}

function compareDeadLetters(
  expected: readonly DeadLetterOutcome[],
  found: readonly DeadLetterOutcome[],
  told: Told,
): number {
  const placeOf = ({ partition, offset }: DeadLetterOutcome) => `partition ${partition}, offset ${offset}`;
  const wanted = new Map(expected.map((letter) => [placeOf(letter), letter]));
  const seen = new Set<string>();
  let wrong = 0;
  const tell = (sort: string, letter: DeadLetterOutcome, more = '') => {
    wrong += 1;
    told.add(`${sort} dead letter`, `${placeOf(letter)} (${letter.code})${more}`);
  };
  for (const letter of found) {
    const place = placeOf(letter);
    const original = wanted.get(place);
    if (seen.has(place)) tell('doubled', letter);
    else if (original === undefined) tell('foreign', letter);
    else if (original.code !== letter.code) tell('altered', letter, `: the reference has ${original.code}`);
    else if (!sameBytes(original.key, letter.key)) tell('altered', letter, ': another key');
    else if (!sameBytes(original.value, letter.value)) tell('altered', letter, ': another value');
    seen.add(place);
  }
  for (const letter of expected) if (!seen.has(placeOf(letter))) tell('lost', letter);
  return wrong;
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

function compareCards(expected: Expected['cards'], found: Found['cards'], told: Told): number {
  let wrong = 0;
  const tell = (line: string) => {
    wrong += 1;
    told.add('state', line);
  };
  expected.forEach((cards, partition) => {
    const held = found[partition];
    for (const [card, state] of cards) {
      const other = held?.get(card);
      if (other === undefined) tell(`card ${card} of partition ${partition} is not remembered`);
      else if (other !== state) tell(`card ${card} of partition ${partition}: ${firstDifference(other, state)}`);
    }
    for (const card of held?.keys() ?? []) {
      if (!cards.has(card)) tell(`card ${card} of partition ${partition} never paid`);
    }
  });
  return wrong;
}

/** The first field in which two descriptions of a state differ. */
function firstDifference(found: string, expected: string): string {
  const fields = found.split(' ');
  const wanted = expected.split(' ');
  const at = wanted.findIndex((field, index) => field !== fields[index]);
  return `${fields[at]?.slice(0, 200)}, the reference has ${wanted[at]?.slice(0, 200)}`;
}
