SELECT 1.5D AS a, 'a\u0041' AS b FROM transactions
