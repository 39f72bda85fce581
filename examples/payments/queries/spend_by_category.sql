-- What was spent per category and country of the merchant, in windows of 10 seconds.
-- Amounts of different currencies can't be added up, so the currency is a group too.
SELECT
  window(t.event_time, '10 seconds'),
  m.category,
  m.country,
  t.currency,
  count(*) AS payments,
  sum(t.amount) AS total
FROM transactions t
JOIN merchants m ON t.merchant_id = m.merchant_id
WHERE t.status = 'approved'
GROUP BY window(t.event_time, '10 seconds'), m.category, m.country, t.currency
