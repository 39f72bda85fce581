SELECT * FROM transaction
