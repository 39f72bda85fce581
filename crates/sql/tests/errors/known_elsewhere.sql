SELECT mod(quantity, 2) AS a, cast(quantity, string) AS b, date_part('year', event_time) AS c, strpos(currency, 'E') AS d,
       md5(account_id) AS e, struct(quantity, amount) AS f, map('a', quantity) AS g, log2(amount) AS h
FROM transactions
