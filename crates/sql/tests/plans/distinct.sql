SELECT DISTINCT window(event_time, '1 hour'), account_id, upper(currency) AS currency FROM transactions WHERE amount > 0
