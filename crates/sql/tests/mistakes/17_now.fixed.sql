-- now()
SELECT transaction_id, event_time AS seen_at
FROM transactions
