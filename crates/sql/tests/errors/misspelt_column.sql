SELECT amuont FROM transactions
