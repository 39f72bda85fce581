SELECT count(*) AS payments
FROM transactions
GROUP BY window(created_at, '1 minute')
