SELECT a.transaction_id, b.transaction_id AS second, c.transaction_id AS third
FROM transactions AS a
JOIN transactions AS b ON b.account_id = a.account_id AND b.event_time BETWEEN a.event_time AND a.event_time + INTERVAL '1 minute'
JOIN transactions AS c ON c.account_id = a.account_id AND c.event_time BETWEEN a.event_time AND a.event_time + INTERVAL '1 minute'
