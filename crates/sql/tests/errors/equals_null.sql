SELECT transaction_id FROM transactions WHERE currency = NULL OR discount <> NULL
