/**
 * Owns noticing that what `npm start` put above this process is gone. npm passes SIGTERM on to the shell between it and
 * us, and many a shell dies of it without passing it on: the service would run on unseen.
 */

const LOOK_EVERY_MS = 250;

/** Calls `onOrphaned` once if this process was started by `npm start` and its parent ends. Keeps no process alive. */
export function watchParent(
  onOrphaned: () => void,
  env: Readonly<Record<string, string | undefined>> = process.env,
  parentOf: () => number = () => process.ppid,
): void {
  if (env.npm_lifecycle_event !== 'start') return;
  const parent = parentOf();
  const ticker = setInterval(() => {
    if (parentOf() === parent) return;
    clearInterval(ticker);
    onOrphaned();
  }, LOOK_EVERY_MS);
  ticker.unref();
}
