-- Text in double quotes
SELECT transaction_id
FROM transactions
WHERE currency = 'EUR'
