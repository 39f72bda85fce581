SELECT DISTINCT account_id
FROM transactions
