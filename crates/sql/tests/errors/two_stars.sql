SELECT transaction_id, quantity ** 2 AS square FROM transactions
