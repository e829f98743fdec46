/** Owns money in words: minor units to the amount people read. Currencies' exponents are those of ISO 4217. */

const EXPONENT_0 = 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'.split(' ');
const EXPONENT_3 = 'BHD IQD JOD KWD LYD OMR TND'.split(' ');
const EXPONENT_4 = 'CLF UYW'.split(' ');

const exponents = new Map<string, number>([
  ...EXPONENT_0.map((currency) => [currency, 0] as const),
  ...EXPONENT_3.map((currency) => [currency, 3] as const),
  ...EXPONENT_4.map((currency) => [currency, 4] as const),
]);

/** Digits after the point: 2 for every currency that ISO 4217 gives no other number for. */
export function currencyExponent(currency: string): number {
  return exponents.get(currency) ?? 2;
}

/** As `450.00 EUR`, `1200 JPY`. Exact: no floating-point division of the amount. */
export function formatMoney(amountMinor: number, currency: string): string {
  const exponent = currencyExponent(currency);
  const sign = amountMinor < 0 ? '-' : '';
  const digits = String(Math.abs(Math.round(amountMinor))).padStart(exponent + 1, '0');
  const whole = digits.slice(0, digits.length - exponent);
  const fraction = exponent === 0 ? '' : `.${digits.slice(digits.length - exponent)}`;
  return `${sign}${whole}${fraction} ${currency}`;
}
