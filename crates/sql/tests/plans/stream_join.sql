SELECT t.account_id, t.amount, l.event_time AS logged_in, m.category
FROM transactions t
JOIN logins l ON l.account_id = t.account_id AND l.event_time BETWEEN t.event_time - INTERVAL '5 minutes' AND t.event_time
JOIN merchants m ON m.merchant_id = t.merchant_id
WHERE t.amount > 10
