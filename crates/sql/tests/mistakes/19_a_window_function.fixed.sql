-- A window function
SELECT account_id, sum(amount) AS spend
FROM transactions
GROUP BY window(event_time, '1 hour'), account_id
