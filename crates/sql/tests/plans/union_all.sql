SELECT account_id, event_time, amount, 'payment' AS kind FROM transactions WHERE amount > 0
UNION ALL
SELECT account_id, event_time, CAST(0 AS DECIMAL(12, 2)), 'login' AS kind FROM logins
UNION ALL
SELECT t.account_id, t.event_time, t.discount, m.category FROM transactions t LEFT JOIN merchants m ON t.merchant_id = m.merchant_id
