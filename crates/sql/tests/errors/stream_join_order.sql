SELECT t.amount FROM transactions t JOIN merchants m ON t.merchant_id = m.merchant_id JOIN logins l ON t.account_id = l.account_id
