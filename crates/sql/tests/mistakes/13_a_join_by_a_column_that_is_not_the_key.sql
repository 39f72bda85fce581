SELECT t.transaction_id, m.category
FROM transactions AS t JOIN merchants AS m ON t.account_id = m.name
