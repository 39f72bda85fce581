SELECT transaction_id, amuont
FROM transactions
