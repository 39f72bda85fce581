SELECT transaction_id
FROM transactions
WHERE currency = "EUR"
