--! emit: final
SELECT t.account_id, count(*) AS payments, count(l.account_id) AS with_login
FROM (SELECT account_id, event_time, amount FROM transactions WHERE amount > 10) AS t
LEFT JOIN logins l ON upper(t.account_id) = l.account_id AND l.event_time >= t.event_time AND t.event_time > l.event_time - INTERVAL '1 hour'
GROUP BY window(t.event_time, '1 hour'), t.account_id
