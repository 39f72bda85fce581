-- A window of a month
SELECT count(*) AS payments
FROM transactions
GROUP BY window(event_time, '30 days')
