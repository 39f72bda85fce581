SELECT row_number() OVER (ORDER BY amount) AS r, sum(amount) OVER (PARTITION BY currency) AS s FROM transactions
