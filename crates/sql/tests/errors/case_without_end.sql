SELECT transaction_id, CASE WHEN quantity > 1 THEN 'many' AS words FROM transactions
