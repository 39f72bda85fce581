SELECT t.amount FROM transactions t JOIN logins l ON t.account_id = l.account_id AND l.event_time > t.event_time
