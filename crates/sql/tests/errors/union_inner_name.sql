SELECT account_id FROM transactions UNION ALL SELECT transaction_id FROM (SELECT amount * 2, transaction_id FROM transactions) AS x
