SELECT t.amount FROM transactions t JOIN merchants m ON t.account_id = m.merchant_id
