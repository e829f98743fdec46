/** Owns how the proof's flags are read. Neighbours: `main.ts` and `cycles/options.ts`. */

/** Called wrongly: the message is for people, and the exit code is 2. */
export class UsageError extends Error {}

/** `otherwise` where it was left out. Errors: {@link UsageError} for what is no whole number from `least`. */
export function wholeNumber(name: string, text: string | undefined, otherwise: number, least: number): number {
  if (text === undefined) return otherwise;
  const number = Number(text.replaceAll('_', ''));
  if (!Number.isSafeInteger(number) || number < least) {
    throw new UsageError(`--${name} must be a whole number from ${least}; it is ${text}`);
  }
  return number;
}
