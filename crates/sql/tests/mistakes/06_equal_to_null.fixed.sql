-- = NULL
SELECT transaction_id
FROM transactions
WHERE discount IS NULL
