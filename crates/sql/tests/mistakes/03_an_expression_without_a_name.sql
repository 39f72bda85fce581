SELECT currency, sum(amount)
FROM transactions
GROUP BY window(event_time, '1 minute'), currency
