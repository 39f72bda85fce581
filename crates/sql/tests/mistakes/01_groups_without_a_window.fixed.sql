-- A group without a window
SELECT currency, sum(amount) AS spend
FROM transactions
GROUP BY window(event_time, '1 minute'), currency
