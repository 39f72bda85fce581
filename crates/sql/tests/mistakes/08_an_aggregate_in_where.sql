SELECT account_id, count(*) AS payments
FROM transactions
WHERE count(*) > 3
GROUP BY window(event_time, '1 minute'), account_id
