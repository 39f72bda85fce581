SELECT amount + currency AS a, quantity = '5' AS b, currency > 3 AS c, coalesce(amount, 'none') AS d, is_online = 1 AS e
FROM transactions WHERE amount
