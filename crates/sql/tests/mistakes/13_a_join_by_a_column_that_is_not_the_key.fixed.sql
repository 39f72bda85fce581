-- A join by a column that isn't the key
SELECT t.transaction_id, m.category
FROM transactions AS t JOIN merchants AS m ON t.merchant_id = m.merchant_id
