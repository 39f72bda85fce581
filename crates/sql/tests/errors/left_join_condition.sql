SELECT t.amount FROM transactions t LEFT JOIN merchants m ON t.merchant_id = m.merchant_id AND m.country = 'DE'
