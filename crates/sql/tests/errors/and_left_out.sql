SELECT transaction_id, quantity FROM transactions WHERE quantity > 1 amount > 5
