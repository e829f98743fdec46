/**
 * Owns `bench state`: throughput over 100 thousand, 1 and 10 million cards. Each card pays once, then come draws by
 * Zipf's law and uniform ones, in one topic, one service; memory is looked at all along.
 */
import type { Bench, BenchPlace, BenchResult, Row } from './bench.js';
import { type CardsPart, cardPayments } from './cards.js';
import { makeJob } from './job-files.js';
import type { Phase } from './log-bench.js';

const CARDS = [100_000, 1_000_000, 10_000_000];
const DRAWN = 2_000_000;

export const stateBench: Bench = {
  name: 'state',
  summary: 'throughput over 100,000, 1 and 10 million cards (--cards), Zipf and uniform, warm page cache',
  run: measure,
};

async function measure(place: BenchPlace): Promise<BenchResult> {
  const { options, say } = place;
  const name = options.job ?? 'reference';
  const bench = await place.kafkaBench();
  const job = await makeJob(place, name);
  const measured: { cards: number; draw: string; phase: Phase }[] = [];
  for (const cards of options.cards ?? CARDS) {
    // Few cards are gone through so fast that compiling would be measured: they pay several times first.
    const first = Math.max(cards, DRAWN);
    const drawn = Math.min(options.payments, DRAWN);
    const parts: readonly CardsPart[] = [
      { draw: 'each once', payments: first },
      { draw: 'zipf', payments: drawn },
      { draw: 'uniform', payments: drawn },
    ];
    say(`${name}: ${cards} cards, loading ${first + 2 * drawn} payments`);
    let part = 0;
    await bench.phases(job, cardPayments(cards, parts), [first, first + drawn], (phase) => {
      const { draw } = parts[part++];
      say(
        `  ${draw}: ${phase.paymentsPerSecond} payments/s, ${phase.cpuPerMillion} CPU-s per million, ${phase.rssMiB} MiB`,
      );
      measured.push({ cards, draw, phase });
    });
  }
  const rateOf = (cards: number, draw: string) =>
    measured.find((one) => one.cards === cards && one.draw === draw)?.phase.paymentsPerSecond ?? 0;
  const least = Math.min(...measured.map(({ cards }) => cards));
  const rows = measured.map(
    ({ cards, draw, phase }): Row => ({
      cards,
      draw,
      'payments/s': phase.paymentsPerSecond,
      'of the fewest cards': `${Math.round((phase.paymentsPerSecond / rateOf(least, draw)) * 100)} %`,
      'CPU-s/M': phase.cpuPerMillion,
      MiB: phase.rssMiB,
    }),
  );
  return { figures: { job: name, measured }, rows };
}
