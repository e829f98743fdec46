/**
 * Owns a database full of alerts as a month of work leaves it: skewed cards, merchants and rules, old alerts closed,
 * new ones open. Made by Postgres itself; the same seed makes the same alerts.
 */
import pg from 'pg';

/** One insert; counts by hour are kept a statement, not a row. */
const CHUNK = 50_000;
const DAYS = 30;
/** A month that ends here. */
export const NEWEST_MS = Date.UTC(2026, 10, 20, 12);

export const RULES = [
  'score-high',
  'score-elevated',
  'velocity-burst',
  'card-testing',
  'impossible-travel',
  'merchant-risk-high',
  'amount-unusual',
  'night-abroad',
  'first-use-of-merchant',
  'country-risk',
];
export const CARDS = 200_000;
export const MERCHANTS = 20_000;
export const ANALYSTS = 40;

/** Fills the alerts of a migrated database. `url` is of a role that may change tables. */
export async function fillAlerts(url: string, count: number, say: (line: string) => void): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('SELECT setseed(0.42)');
    const indexes = await dropIndexes(client);
    for (let from = 0; from < count; from += CHUNK) {
      await client.query(INSERT, [from, Math.min(count, from + CHUNK) - 1, count]);
      if ((from / CHUNK) % 5 === 4) say(`  ${from + CHUNK} alerts`);
    }
    for (const definition of indexes) await client.query(definition);
    await client.query('VACUUM (ANALYZE) alerts');
    await client.query('VACUUM (ANALYZE) alert_counts');
  } finally {
    await client.end();
  }
}

/** Indexes are made faster at once than row by row. Returns how to make them again. */
async function dropIndexes(client: pg.Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ indexname: string; indexdef: string }>(
    "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'alerts' AND indexname <> 'alerts_pkey'",
  );
  for (const { indexname } of rows) await client.query(`DROP INDEX ${indexname}`);
  return rows.map(({ indexdef }) => indexdef);
}

const features = JSON.stringify(
  Object.fromEntries(Array.from({ length: 24 }, (_, i) => [`feature_${i}_of_the_card`, i * 1.37])),
);

/** Names that queries look for; `index` counts from 0 and the low ones are the busy ones. */
export const cardName = (index: number) => `card-${index}`;
export const merchantName = (index: number) => `merchant-${index}`;
export const analystName = (index: number) => `analyst-${index}`;

/** $1 to $2: numbers of alerts; $3: how many there will be. Older first. Powers of random() make the skew. */
const INSERT = `
  INSERT INTO alerts (alert_id, card_id, payment_id, merchant_id, amount_minor, currency, occurred_at, detected_at,
    decision, severity, score, rule_id, rules, evidence, state, assignee, disposition, reason_code, revision, stored_at)
  SELECT md5('alert ' || i), card, 'payment-' || i, merchant, amount, currency, at - interval '40 ms', at, decision,
    severity, score, rule,
    jsonb_build_array(jsonb_build_object('id', rule, 'name', initcap(rule), 'version', 3, 'hash', '0123456789abcdef',
      'decision', decision, 'severity', severity, 'reason', 'score ' || round(score::numeric, 2) || ' is at or above 0.60')),
    jsonb_build_object('source', jsonb_build_object('topic', 'payments.raw', 'partition', i % 8, 'offset', i,
        'timestamp', extract(epoch FROM at)::bigint * 1000),
      'payment', jsonb_build_object('paymentId', 'payment-' || i, 'cardId', card, 'merchantId', merchant, 'amountMinor',
        amount, 'currency', currency, 'occurredAt', extract(epoch FROM at)::bigint * 1000, 'country', 'DE', 'mcc', '5411'),
      'late', false, 'enrichment', jsonb_build_object('merchantRisk', score / 2, 'source', 'lookup', 'asOf',
        extract(epoch FROM at)::bigint * 1000, 'degraded', false),
      'features', '${features}'::jsonb, 'patterns', '[]'::jsonb, 'model', null,
      'ruleSet', jsonb_build_object('version', 12, 'hash', 'fedcba9876543210'), 'pipelineVersion', '0.1.0'),
    CASE WHEN closed THEN 'closed' WHEN assignee IS NULL THEN 'open' ELSE 'in-progress' END, assignee,
    CASE WHEN closed THEN found END,
    CASE WHEN closed THEN CASE found WHEN 'fraud' THEN 'card-stolen' WHEN 'legitimate' THEN 'customer-confirmed'
      ELSE 'customer-unreachable' END END,
    CASE WHEN closed THEN 3 WHEN assignee IS NULL THEN 1 ELSE 2 END, at + interval '30 ms'
  FROM (
    SELECT i, at, closed, score, rule, currency,
      'card-' || floor(power(r1, 3) * ${CARDS}) AS card, 'merchant-' || floor(power(r2, 4) * ${MERCHANTS}) AS merchant,
      floor(exp(r3 * 6) * 500)::bigint AS amount,
      CASE WHEN score > 0.9 THEN 'decline' ELSE 'review' END AS decision,
      CASE WHEN score > 0.97 THEN 'critical' WHEN score > 0.9 THEN 'high' WHEN score > 0.7 THEN 'medium' ELSE 'low' END
        AS severity,
      CASE WHEN closed OR r4 < 0.2 THEN 'analyst-' || floor(r5 * ${ANALYSTS}) END AS assignee,
      CASE WHEN r6 < 0.2 THEN 'fraud' WHEN r6 < 0.9 THEN 'legitimate' ELSE 'inconclusive' END AS found
    FROM (
      SELECT i, to_timestamp(${NEWEST_MS / 1000} - ($3::float8 - i) / $3 * ${DAYS * 86_400}) AS at,
        1 - 0.5 * power(random(), 0.7) AS score,
        random() < CASE WHEN i > $3::float8 * 0.97 THEN 0.1 ELSE 0.96 END AS closed,
        (ARRAY['${RULES.join("','")}'])[1 + floor(power(random(), 2) * ${RULES.length})::integer] AS rule,
        (ARRAY['EUR', 'EUR', 'EUR', 'USD', 'GBP'])[1 + floor(random() * 5)::integer] AS currency,
        random() AS r1, random() AS r2, random() AS r3, random() AS r4, random() AS r5, random() AS r6
      FROM generate_series($1::bigint, $2::bigint) AS i
    ) AS drawn
  ) AS made`;
