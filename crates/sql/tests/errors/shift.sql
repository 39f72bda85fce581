SELECT transaction_id, quantity << 1 AS twice FROM transactions
