SELECT window(k.clicked_at, '1 minute'), k.page, count(*) AS orders
FROM orders AS o
JOIN clicks AS k ON k.customer_id = o.customer_id AND k.clicked_at BETWEEN o.ordered_at - INTERVAL '5 minutes' AND o.ordered_at
GROUP BY window(k.clicked_at, '1 minute'), k.page
