-- A misspelt column
SELECT transaction_id, amount
FROM transactions
