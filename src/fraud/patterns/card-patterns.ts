/**
 * Owns the keyed step that looks for the built-in patterns at each payment and sets the batch's finding columns.
 * First of the keyed steps: it sees the card as it was before the payment. Neighbours: one file a pattern,
 * `pattern-parameters.ts`; rules read the columns, alerts the findings in `PaymentBatch.matches`.
 *
 * What matched is taken down here, as the card's state has moved on when alerts are built. Only rows with a finding
 * allocate. Measured by `scripts/model/measure-steps.ts`.
 */
import type { FiredTimer, KeyedStep, OpenKeyedStep, Outputs, StepContext } from '../../stream/pipeline/pipeline.js';
import type { PatternFinding } from '../alerts/alert.js';
import type { CardColumns, cardState } from '../cards/state.js';
import { FINDING, type PaymentBatch } from '../payments/payment-batch.js';
import { CARD_TESTING_TIMER, CardTesting, type CardTestingFinding } from './card-testing.js';
import { haversineKm, isCountryChange, isTooFast, speedKmh } from './impossible-travel.js';
import type { PatternParameters } from './pattern-parameters.js';
import { countBurst, describeBurst } from './velocity-burst.js';

/**
 * Takes a card test that expired unfinished, during the timer's call. `slot` and `key` (a view) are valid during the
 * call; `dueMs` is the event time at which the test ended.
 */
export type OnExpired = (
  finding: CardTestingFinding,
  slot: number,
  key: Buffer,
  dueMs: number,
  outputs: Outputs,
  context: StepContext,
) => void;

/** The parameters in force in a task. They change between batches alone. */
export type ParametersOf = (taskId: string) => PatternParameters;

class OpenCardPatterns implements OpenKeyedStep<PaymentBatch> {
  private parameters: PatternParameters;
  private cardTesting: CardTesting;

  constructor(
    private readonly parametersOf: ParametersOf,
    private readonly card: CardColumns,
    private readonly onExpired: OnExpired,
    private readonly context: StepContext,
  ) {
    this.parameters = parametersOf(context.taskId);
    this.cardTesting = new CardTesting(this.parameters.cardTesting, card);
  }

  apply(batch: PaymentBatch, row: number, slot: number): void {
    if (row === 0) this.takeParameters();
    batch.findings[row] = 0;
    this.lookForTesting(batch, row, slot);
    this.lookForBurst(batch, row, slot);
    this.lookForTravel(batch, row, slot);
  }

  onTimer(timer: FiredTimer, slot: number, key: Buffer, outputs: Outputs): void {
    if (timer.field !== CARD_TESTING_TIMER) return;
    this.takeParameters();
    const finding = this.cardTesting.expire(slot, timer.dueMs);
    if (finding === null) return;
    this.context.count('card-patterns.card-testing-unfinished');
    this.onExpired(finding, slot, key, timer.dueMs, outputs, this.context);
  }

  /** A sequence under way goes on by the new parameters; a timer that is set fires when it was to. */
  private takeParameters(): void {
    const parameters = this.parametersOf(this.context.taskId);
    if (parameters === this.parameters) return;
    this.parameters = parameters;
    this.cardTesting = new CardTesting(parameters.cardTesting, this.card);
  }

  private lookForTesting(batch: PaymentBatch, row: number, slot: number): void {
    const finding = this.cardTesting.look(batch, row, slot);
    batch.cardTestingSmallCount[row] = finding === null ? 0 : finding.smallCount;
    if (finding === null) return;
    this.context.count('card-patterns.card-testing');
    takeDown(batch, row, FINDING.cardTesting, finding);
  }

  private lookForBurst(batch: PaymentBatch, row: number, slot: number): void {
    const { velocityBurst } = this.parameters;
    const timeMs = batch.eventTimeMs[row];
    const count = countBurst(this.card, slot, timeMs, velocityBurst.withinMs);
    batch.velocityCount[row] = count;
    if (count < velocityBurst.minPayments) return;
    this.context.count('card-patterns.velocity-burst');
    takeDown(batch, row, FINDING.velocityBurst, describeBurst(velocityBurst, this.card, slot, timeMs, count));
  }

  private lookForTravel(batch: PaymentBatch, row: number, slot: number): void {
    const { card } = this;
    const { impossibleTravel } = this.parameters;
    const timeMs = batch.eventTimeMs[row];
    const latitude = batch.latitude[row];
    let distanceKm = 0;
    let neededKmh = 0;
    let elapsedMs = 0;
    let isFound = false;
    if (!Number.isNaN(latitude) && card.lastLocatedAt[slot] !== 0) {
      elapsedMs = timeMs - card.lastLocatedAt[slot];
      distanceKm = haversineKm(card.lastLatitude[slot], card.lastLongitude[slot], latitude, batch.longitude[row]);
      neededKmh = speedKmh(distanceKm, elapsedMs);
      isFound = isTooFast(impossibleTravel, distanceKm, neededKmh);
    } else if (batch.country[row] !== 0) {
      elapsedMs = timeMs - card.lastCountryAt[slot];
      isFound = isCountryChange(impossibleTravel, card.lastCountry[slot], batch.country[row], elapsedMs);
    }
    batch.travelDistanceKm[row] = distanceKm;
    batch.travelSpeedKmh[row] = neededKmh;
    if (!isFound) return;
    this.context.count('card-patterns.impossible-travel');
    takeDown(batch, row, FINDING.impossibleTravel, {
      pattern: 'impossible-travel',
      distanceKm,
      elapsedMs: Math.abs(elapsedMs),
      // By a change of country alone no distance is known, nor a speed.
      speedKmh: distanceKm === 0 ? null : neededKmh,
    });
  }
}

function takeDown(batch: PaymentBatch, row: number, bit: number, finding: PatternFinding): void {
  batch.findings[row] |= bit;
  const found = batch.matches.get(row);
  if (found === undefined) batch.matches.set(row, [finding]);
  else found.push(finding);
}

/** Sets `findings`, its value columns and `matches`. Owns the card state's `testing*` fields and their timer. */
export function cardPatterns(
  parametersOf: ParametersOf,
  options: { readonly onExpired: OnExpired },
): KeyedStep<PaymentBatch, typeof cardState.fields> {
  return {
    kind: 'keyed',
    id: 'card-patterns',
    open: (context, columns) => new OpenCardPatterns(parametersOf, columns, options.onExpired, context),
  };
}
