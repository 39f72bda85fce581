SELECT amount AS x, quantity AS X FROM transactions
