/** Owns how a command shows how far it is: a bar on a terminal, a line now and then elsewhere. */
import cliProgress from 'cli-progress';
import type { Surroundings } from './command.js';

export interface Progress {
  /** `share` is 0 to 1; null where the end is not known. `words` say the same for people. */
  update(share: number | null, words: string): void;
  /** Leaves what was shown last. */
  end(): void;
}

const LINE_EVERY_MS = 5_000;
const SCALE = 1_000;

export function openProgress(surroundings: Surroundings): Progress {
  return surroundings.screen === null ? plainLines(surroundings) : bar(surroundings.screen);
}

function plainLines({ clock, tell }: Surroundings): Progress {
  let lastAtMs = clock.monotonic();
  return {
    update(share, words) {
      if (clock.monotonic() - lastAtMs < LINE_EVERY_MS) return;
      lastAtMs = clock.monotonic();
      tell(share === null ? words : `${Math.floor(share * 100)} %  ${words}`);
    },
    end: () => undefined,
  };
}

function bar(stream: NodeJS.WriteStream): Progress {
  const single = new cliProgress.SingleBar({
    stream,
    format: ' {bar} {percentage} %  {words}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 28,
    hideCursor: true,
    // Ctrl-C is the command's own affair.
    gracefulExit: false,
    fps: 10,
  });
  single.start(SCALE, 0, { words: '' });
  return {
    update: (share, words) => single.update(Math.round((share ?? 0) * SCALE), { words }),
    end: () => single.stop(),
  };
}
