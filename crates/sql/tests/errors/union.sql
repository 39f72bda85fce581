SELECT account_id FROM transactions UNION ALL SELECT account_id FROM logins
