-- A number in quotes
SELECT transaction_id
FROM transactions
WHERE quantity > 5
