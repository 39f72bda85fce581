-- The key figures of each minute, per currency.
SELECT
  window(event_time, '1 minute'),
  currency,
  count(*) AS payments,
  sum(CASE WHEN status = 'declined' THEN 1 ELSE 0 END) AS declined,
  sum(CASE WHEN status = 'approved' THEN amount END) AS approved_total,
  avg(amount) AS average_amount,
  max(amount) AS largest_amount
FROM transactions
GROUP BY window(event_time, '1 minute'), currency
