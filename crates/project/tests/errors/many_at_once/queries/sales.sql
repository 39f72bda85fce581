SELECT window(o.ordered_at, '1 minute'), p.category, count(*) AS orders, sum(o.prise) AS sales
FROM orders o
LEFT JOIN products p ON o.product_id = p.product_id
GROUP BY window(o.ordered_at, '1 minute'), p.category
