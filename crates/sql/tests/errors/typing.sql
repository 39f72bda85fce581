SELEC amount FROM transactions
