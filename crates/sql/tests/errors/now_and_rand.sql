SELECT transaction_id, uuid() AS id, rand() AS r FROM transactions WHERE event_time > now() - INTERVAL 5 MINUTES AND created_at < current_timestamp
