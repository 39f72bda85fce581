SELECT transaction_id, merchant_id
FROM transactions AS t JOIN merchants AS m ON t.merchant_id = m.merchant_id
