-- An aggregate in WHERE
SELECT account_id, count(*) AS payments
FROM transactions
GROUP BY window(event_time, '1 minute'), account_id
HAVING count(*) > 3
