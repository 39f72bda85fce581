-- Two queries in one file
SELECT transaction_id FROM transactions;
