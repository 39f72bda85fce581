SELECT DISTINCT currency FROM transactions
