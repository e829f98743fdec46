/**
 * Owns the impossible-travel pattern: two payments of a card further apart than its holder can have travelled. By
 * coordinates where both have them, else by a change of country within a short time. Neighbours: `card-patterns.ts`
 * runs this, `../cards/remember-payment.ts` keeps the last place.
 *
 * T1 Distances and times have no sign: a payment out of order is compared with the card's latest place all the same.
 * T2 Coordinates, where both payments have them, decide alone.
 */
import type { PatternParameters } from './pattern-parameters.js';

/** Mean radius of the Earth (IUGG), in km. */
const EARTH_RADIUS_KM = 6_371.0088;
const RADIANS = Math.PI / 180;
const HOUR_MS = 3_600_000;
/** Speeds are taken over at least this long, so that simultaneous payments have a finite one. */
const MIN_ELAPSED_MS = 60_000;

/** Great-circle distance in km between two places in degrees. Haversine formula (R. W. Sinnott, 1984). */
export function haversineKm(latitudeA: number, longitudeA: number, latitudeB: number, longitudeB: number): number {
  const sinHalfLatitude = Math.sin(((latitudeB - latitudeA) * RADIANS) / 2);
  const sinHalfLongitude = Math.sin(((longitudeB - longitudeA) * RADIANS) / 2);
  const a =
    sinHalfLatitude * sinHalfLatitude +
    Math.cos(latitudeA * RADIANS) * Math.cos(latitudeB * RADIANS) * sinHalfLongitude * sinHalfLongitude;
  // Rounding can carry `a` past 1 at antipodes.
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(Math.min(a, 1)));
}

/** Speed needed for a distance, km/h. `elapsedMs` may be negative (T1). */
export function speedKmh(distanceKm: number, elapsedMs: number): number {
  return (distanceKm * HOUR_MS) / Math.max(Math.abs(elapsedMs), MIN_ELAPSED_MS);
}

export function isTooFast(
  parameters: PatternParameters['impossibleTravel'],
  distanceKm: number,
  neededKmh: number,
): boolean {
  return distanceKm > parameters.minDistanceKm && neededKmh > parameters.minSpeedKmh;
}

/** Countries as in `PaymentBatch.country`; 0 is not known, and never a change. */
export function isCountryChange(
  parameters: PatternParameters['impossibleTravel'],
  before: number,
  now: number,
  elapsedMs: number,
): boolean {
  if (before === 0 || now === 0 || before === now) return false;
  return Math.abs(elapsedMs) < parameters.countryChangeWithinMs;
}
