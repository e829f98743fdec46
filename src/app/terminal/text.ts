/**
 * Owns how figures and foreign text are put into terminal cells: numbers, durations, sizes, sparklines, and the cleaning
 * of text that comes from payments. Pure. Neighbours: `screen.ts` and `status-line.ts` lay them out.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** `26,402`; 0 decimals from 10 up, else one where it says something. */
export function writeCount(value: number): string {
  const rounded = value < 10 ? Math.round(value * 10) / 10 : Math.round(value);
  return rounded.toLocaleString('en-US');
}

/** `0.8 s`, `45 s`, `2 min 10 s`, `3 h 05 min`, `2 d 4 h`. */
export function writeSpan(durationMs: number): string {
  const ms = Math.max(0, durationMs);
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < MINUTE_MS) return `${Math.floor(ms / 1000)} s`;
  const two = (value: number) => String(value).padStart(2, '0');
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min ${two(Math.floor((ms % MINUTE_MS) / 1000))} s`;
  if (ms < 48 * HOUR_MS) return `${Math.floor(ms / HOUR_MS)} h ${two(Math.floor((ms % HOUR_MS) / MINUTE_MS))} min`;
  return `${Math.floor(ms / (24 * HOUR_MS))} d ${Math.floor((ms % (24 * HOUR_MS)) / HOUR_MS)} h`;
}

/** `24 ms`, `1.3 s`; a dash where there is none yet. */
export function writeLatency(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return '–';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1_000 ? `${Math.round(ms)} ms` : writeSpan(ms);
}

/** `312 MiB`, `1.4 GiB`. */
export function writeSize(bytes: number): string {
  const mebibytes = bytes / 1_048_576;
  return mebibytes < 1_024 ? `${Math.round(mebibytes)} MiB` : `${(mebibytes / 1_024).toFixed(1)} GiB`;
}

const BARS = '▁▂▃▄▅▆▇█';

/** The last `width` values as bars, scaled to the largest of them. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = width <= 0 ? [] : values.slice(-width);
  const top = Math.max(...shown, 0);
  if (top === 0) return BARS[0].repeat(shown.length);
  return shown.map((value) => BARS[Math.min(7, Math.max(0, Math.round((value / top) * 7)))]).join('');
}

/** All but letters of European scripts, digits and punctuation, arrows and mathematical signs. */
const NOT_ONE_COLUMN =
  /[^\u0020-\u007e\u00a1-\u00ac\u00ae-\u02ff\u0370-\u03ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u22ff]/gu;

/**
 * Text from outside made fit for a terminal: no escape sequences, no line breaks, nothing that is not one column wide
 * (each becomes a middle dot), so that ids in payments can neither steer the terminal nor break the layout.
 */
export function cleanText(text: string): string {
  return text.replace(NOT_ONE_COLUMN, '·');
}

/** Cut to `width` columns, with an ellipsis where something is missing. The text must be clean and uncoloured. */
export function clip(text: string, width: number): string {
  if (text.length <= width) return text;
  return width <= 1 ? text.slice(0, Math.max(0, width)) : `${text.slice(0, width - 1)}…`;
}

/** The last characters of a card's token: enough to tell cards apart, too little to look one up. */
export function shortCard(cardId: string): string {
  const clean = cleanText(cardId);
  return clean.length <= 6 ? clean : `…${clean.slice(-6)}`;
}
