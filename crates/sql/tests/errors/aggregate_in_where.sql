SELECT currency, sum(amount) AS total FROM transactions WHERE sum(amount) > 10 AND total > 5
GROUP BY window(event_time, '1 minute'), currency
