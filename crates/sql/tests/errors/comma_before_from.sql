SELECT transaction_id,
       amount,
FROM transactions
