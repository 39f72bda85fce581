-- A join by half of the key
SELECT t.transaction_id, r.rate
FROM transactions AS t JOIN rates AS r ON t.currency = r.currency AND r.country = 'DE'
