SELECT amount FROM transactions WHERE amount > 0 WHERE amount < 10
