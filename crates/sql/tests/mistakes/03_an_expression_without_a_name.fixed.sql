-- An expression without a name
SELECT currency, sum(amount) AS sum_amount
FROM transactions
GROUP BY window(event_time, '1 minute'), currency
