SELECT transaction_id FROM transactions WHERE event_time > '01/02/2026' AND booked_on = 'yesterday' AND created_at > 5
