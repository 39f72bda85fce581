SELECT transaction_id FROM transactions WHERE quantity > 1 AND
