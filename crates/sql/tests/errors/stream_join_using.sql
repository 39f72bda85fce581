SELECT t.amount FROM transactions t JOIN logins l USING (account_id)
