-- Payments and approved spend per country, channel and currency, in windows of 10 seconds.
SELECT
  window(event_time, '10 seconds'),
  country,
  channel,
  currency,
  count(*) AS payments,
  sum(CASE WHEN status = 'approved' THEN amount END) AS approved_total,
  max(event_time) AS newest
FROM transactions
GROUP BY window(event_time, '10 seconds'), country, channel, currency
