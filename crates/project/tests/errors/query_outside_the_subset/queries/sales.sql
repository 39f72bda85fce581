--! emit: sometimes
SELECT category, now() AS t, count(*) AS n
FROM orders
GROUP BY category
