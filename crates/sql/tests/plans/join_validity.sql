-- The event time is read for the join, though the query doesn't name it.
SELECT t.transaction_id, f.fee
FROM transactions t
LEFT JOIN fees f ON t.merchant_id = f.merchant_id
