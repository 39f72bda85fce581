SELECT t.amount FROM transactions t LEFT JOIN logins l ON t.account_id = l.account_id AND l.event_time BETWEEN t.event_time AND t.event_time + INTERVAL '1 minute'
