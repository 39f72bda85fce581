SELECT t.amount, rate FROM transactions t JOIN rates r ON r.currency = t.currency
