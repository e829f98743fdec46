/**
 * Owns pages over HTTP: the parameters of lists, the form of a page, and cursors, which hold the place of a page's last
 * item as one opaque word. Neighbours: lists of alerts have cursors of their own, which know the order
 * (`../fraud/cases/alert-cursor.ts`).
 */
import { z } from 'zod';
import { CursorInvalidError } from '../fraud/cases/alert-cursor.js';
import { queryNumber } from './validation.js';

/** Items of a page. */
export interface PageSizes {
  readonly default: number;
  readonly most: number;
}

export const PAGE: PageSizes = { default: 50, most: 200 };

/** Query parameters of a list. */
export const pageShape = (sizes: PageSizes = PAGE) => ({
  limit: z
    .exactOptional(queryNumber(z.int().min(1).max(sizes.most)))
    .meta({ description: 'Items a page', default: sizes.default }),
  cursor: z
    .exactOptional(z.string().min(1).max(128))
    .meta({ description: 'The `next` of the page before; keep the other parameters as they were' }),
});

export const pageQuerySchema = z.strictObject(pageShape());
export type PageQuery = z.infer<typeof pageQuerySchema>;

/** The form of a page. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({
    items: z.array(item),
    next: z.string().nullable().meta({ description: 'Cursor of the next page; null on the last one' }),
  });

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** A page of which the store has told the next one's place itself. */
export function pageWith<T>({ items, next }: { readonly items: readonly T[]; readonly next: string | number | null }) {
  return { items, next: next === null ? null : encodePlace(next) };
}

/** One more than a page was asked for tells whether there is a next one. `placeOf` names the last item's place. */
export function pageFrom<T, V>(
  found: readonly T[],
  most: number,
  view: (item: T) => V,
  placeOf: (item: T) => string | number,
): Page<V> {
  const items = found.slice(0, most);
  const last = items.at(-1);
  const isLast = found.length <= most || last === undefined;
  return { items: items.map(view), next: isLast ? null : encodePlace(placeOf(last)) };
}

const encodePlace = (place: string | number): string => Buffer.from(String(place), 'utf8').toString('base64url');

/** The place in a cursor, or null where there is none. Errors: {@link CursorInvalidError} unless it is of the form. */
export function placeIn(cursor: string | undefined, isPlace: (place: string) => boolean): string | null {
  if (cursor === undefined) return null;
  const place = Buffer.from(cursor, 'base64url').toString('utf8');
  if (!isPlace(place)) throw new CursorInvalidError();
  return place;
}
