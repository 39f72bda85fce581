SELECT window(ordered_at, '1 minute'), count(*) AS orders, -CAST(max(price) AS DECIMAL(38, 4)) AS refund
FROM orders
WHERE CAST(price AS DECIMAL(38, 10)) < CAST(quantity AS DECIMAL(20, 0)) AND round(CAST(price AS DECIMAL(38, 0)), -2) <> 0
GROUP BY window(ordered_at, '1 minute')
