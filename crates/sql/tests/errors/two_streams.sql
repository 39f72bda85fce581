SELECT t.amount FROM transactions t JOIN logins l ON t.account_id = l.account_id
