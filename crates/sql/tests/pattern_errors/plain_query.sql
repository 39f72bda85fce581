SELECT account_id FROM transactions
