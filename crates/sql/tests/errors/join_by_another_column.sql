SELECT t.amount FROM transactions t LEFT JOIN merchants m ON t.currency = m.name
