SELECT transaction_id, now() AS seen_at
FROM transactions
