SELECT transaction_id FROM transactions;
SELECT account_id FROM logins;
