SELECT * FROM transactions t JOIN merchants m ON t.merchant_id = m.merchant_id
