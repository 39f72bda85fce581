SELECT currency, count(*) AS payments
FROM transactions
GROUP BY window(event_time, '1 minute'), currency
ORDER BY payments DESC LIMIT 10
