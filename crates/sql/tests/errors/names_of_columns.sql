SELECT amount AS `total €`, currency AS generation, amount AS x, quantity AS X, account_id AS 'id', points AS window_end FROM transactions
