SELECT account_id AS who, amount FROM transactions UNION ALL SELECT account_id, account_id FROM logins
