-- DISTINCT without a window
SELECT DISTINCT window(event_time, '1 hour'), account_id
FROM transactions
