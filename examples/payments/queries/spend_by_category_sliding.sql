-- The same over the last minute, brought up to date every 10 seconds: smoother lines for dashboards.
SELECT
  window(t.event_time, '1 minute', '10 seconds'),
  m.category,
  m.country,
  t.currency,
  count(*) AS payments,
  sum(t.amount) AS total
FROM transactions t
JOIN merchants m ON t.merchant_id = m.merchant_id
WHERE t.status = 'approved'
GROUP BY window(t.event_time, '1 minute', '10 seconds'), m.category, m.country, t.currency
