SELECT transaction_id FROM transactions t JOIN merchant m ON t.merchant_id = m.merchant_id
