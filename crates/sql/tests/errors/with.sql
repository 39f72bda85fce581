WITH a AS (SELECT amuont, event_time FROM transactions), a AS (SELECT account_id FROM logins), c(x) AS (SELECT account_id FROM logins)
SELECT * FROM a
