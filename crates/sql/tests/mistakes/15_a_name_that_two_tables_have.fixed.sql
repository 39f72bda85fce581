-- A name that two tables have
SELECT transaction_id, t.merchant_id
FROM transactions AS t JOIN merchants AS m ON t.merchant_id = m.merchant_id
