SELECT amount FORM transactions
