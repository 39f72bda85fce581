SELECT a.transaction_id, b.transaction_id AS second
FROM (SELECT transaction_id, account_id, event_time FROM transactions UNION ALL SELECT 'again', account_id, event_time FROM transactions) AS a
JOIN transactions AS b ON b.account_id = a.account_id AND b.event_time BETWEEN a.event_time AND a.event_time + INTERVAL '1 minute'
