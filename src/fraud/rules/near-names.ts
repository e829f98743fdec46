/** Owns "did you mean …?": the known name that a mistyped one comes nearest to. */

/** Texts are compared up to here; names are shorter. */
const MAX_COMPARED = 64;
const MAX_LISTED = 20;

/** A hint for a name that is not among `names`. */
export function nearestName(wanted: string, names: readonly string[]): string {
  const lower = wanted.toLowerCase();
  let best = '';
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const distance = isBeginning(lower, name) ? 1 : editDistance(lower, name.toLowerCase());
    if (distance >= bestDistance) continue;
    best = name;
    bestDistance = distance;
  }
  if (best !== '' && bestDistance <= Math.max(2, wanted.length / 3)) return `did you mean ${best}?`;
  const rest = names.length > MAX_LISTED ? ', …' : '';
  return `use one of ${names.slice(0, MAX_LISTED).join(', ')}${rest}`;
}

/** `amount` means `amountMinor`: whoever leaves the end out has the rest right. */
function isBeginning(lower: string, name: string): boolean {
  return lower.length >= 4 && name.toLowerCase().startsWith(lower);
}

/** Levenshtein's distance. */
function editDistance(left: string, right: string): number {
  const a = left.slice(0, MAX_COMPARED);
  const b = right.slice(0, MAX_COMPARED);
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[j] + 1, current[j - 1] + 1));
    }
    previous = current;
  }
  return previous[b.length];
}
