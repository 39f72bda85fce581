SELECT t.transaction_id, m.name FROM transactions AS t ASOF JOIN merchants AS m ON t.merchant_id = m.merchant_id
