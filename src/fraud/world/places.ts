/** Owns the cities of the simulated card world, and distances between them. */

export interface Place {
  readonly city: string;
  /** ISO 3166-1 alpha-2. */
  readonly country: string;
  /** ISO 4217. Currencies near to the euro in value alone, so that amounts compare. */
  readonly currency: string;
  readonly latitude: number;
  readonly longitude: number;
  /** Hours ahead of UTC. */
  readonly utcOffsetHours: number;
  /** Share of cards and merchants, relative. */
  readonly weight: number;
}

const place = (
  city: string,
  country: string,
  currency: string,
  latitude: number,
  longitude: number,
  utcOffsetHours: number,
  weight: number,
): Place => ({ city, country, currency, latitude, longitude, utcOffsetHours, weight });

export const PLACES: readonly Place[] = [
  place('Brussels', 'BE', 'EUR', 50.8503, 4.3517, 1, 10),
  place('Antwerp', 'BE', 'EUR', 51.2194, 4.4025, 1, 8),
  place('Ghent', 'BE', 'EUR', 51.0543, 3.7174, 1, 5),
  place('Amsterdam', 'NL', 'EUR', 52.3676, 4.9041, 1, 9),
  place('Rotterdam', 'NL', 'EUR', 51.9244, 4.4777, 1, 6),
  place('Paris', 'FR', 'EUR', 48.8566, 2.3522, 1, 14),
  place('Lyon', 'FR', 'EUR', 45.764, 4.8357, 1, 6),
  place('Berlin', 'DE', 'EUR', 52.52, 13.405, 1, 10),
  place('Cologne', 'DE', 'EUR', 50.9375, 6.9603, 1, 6),
  place('Munich', 'DE', 'EUR', 48.1351, 11.582, 1, 7),
  place('Madrid', 'ES', 'EUR', 40.4168, -3.7038, 1, 8),
  place('Barcelona', 'ES', 'EUR', 41.3874, 2.1686, 1, 7),
  place('Lisbon', 'PT', 'EUR', 38.7223, -9.1393, 0, 4),
  place('Rome', 'IT', 'EUR', 41.9028, 12.4964, 1, 7),
  place('Milan', 'IT', 'EUR', 45.4642, 9.19, 1, 7),
  place('Vienna', 'AT', 'EUR', 48.2082, 16.3738, 1, 5),
  place('Dublin', 'IE', 'EUR', 53.3498, -6.2603, 0, 4),
  place('Athens', 'GR', 'EUR', 37.9838, 23.7275, 2, 4),
  place('London', 'GB', 'GBP', 51.5074, -0.1278, 0, 12),
  place('Zurich', 'CH', 'CHF', 47.3769, 8.5417, 1, 4),
  place('New York', 'US', 'USD', 40.7128, -74.006, -5, 3),
  place('Miami', 'US', 'USD', 25.7617, -80.1918, -5, 1),
  place('Montreal', 'CA', 'USD', 45.5019, -73.5674, -5, 1),
  place('Sao Paulo', 'BR', 'USD', -23.5558, -46.6396, -3, 1),
  place('Dubai', 'AE', 'USD', 25.2048, 55.2708, 4, 1),
  place('Singapore', 'SG', 'USD', 1.3521, 103.8198, 8, 1),
  place('Bangkok', 'TH', 'USD', 13.7563, 100.5018, 7, 1),
  place('Lagos', 'NG', 'USD', 6.5244, 3.3792, 1, 1),
];

const EARTH_RADIUS_KM = 6_371;
const RADIANS = Math.PI / 180;

/** Great-circle distance (haversine, Sinnott 1984). */
export function distanceKm(
  a: { readonly latitude: number; readonly longitude: number },
  b: { readonly latitude: number; readonly longitude: number },
): number {
  const dLatitude = Math.sin(((b.latitude - a.latitude) * RADIANS) / 2);
  const dLongitude = Math.sin(((b.longitude - a.longitude) * RADIANS) / 2);
  const h =
    dLatitude * dLatitude + Math.cos(a.latitude * RADIANS) * Math.cos(b.latitude * RADIANS) * dLongitude * dLongitude;
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(h)));
}
