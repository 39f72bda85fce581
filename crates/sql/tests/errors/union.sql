SELECT account_id FROM transactions UNION SELECT account_id FROM logins
