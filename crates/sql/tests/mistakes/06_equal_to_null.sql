SELECT transaction_id
FROM transactions
WHERE discount = NULL
