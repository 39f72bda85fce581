SELECT t.amount FROM transactions t JOIN logins l ON l.event_time BETWEEN t.event_time AND t.event_time + INTERVAL '1 minute'
