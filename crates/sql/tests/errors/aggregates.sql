SELECT first(amount) AS a, last(currency) AS b, collect_list(currency) AS c, array_join(collect_list(currency), ',') AS d,
       array_join(slice(collect_list(amount), 1, 10), ',') AS e, percentile_approx(currency, 0.5) AS f, percentile_approx(amount, 95) AS g,
       min_by(amount) AS h, bool_and(quantity) AS i, stddev(currency) AS j, sum(DISTINCT amount) AS k, count(DISTINCT *) AS l,
       median(amount) AS m, max(amount ORDER BY event_time) AS n, array_join(slice(collect_list(currency), 2, 10), ',') AS o,
       percentile_approx(wide, 0.5) AS p, approx_count_distinct(currency, 0.9) AS q, max_by(amount, NULL) AS r
FROM transactions GROUP BY window(event_time, '1 minute')
