-- A column that is neither grouped by nor aggregated
SELECT currency, account_id, sum(amount) AS spend
FROM transactions
GROUP BY window(event_time, '1 minute'), currency, account_id
