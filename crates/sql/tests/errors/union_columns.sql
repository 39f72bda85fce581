SELECT account_id, event_time FROM transactions UNION ALL SELECT account_id FROM logins
