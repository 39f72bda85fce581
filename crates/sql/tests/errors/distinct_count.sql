SELECT count(DISTINCT account_id) AS n, approx_count_distinct(account_id) AS m, stddev(amount) AS s,
       row_number() OVER (ORDER BY amount) AS r
FROM transactions GROUP BY window(event_time, '1 minute')
