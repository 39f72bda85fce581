SELECT window(ordered_at, '1 minute'), stddev(price) AS deviation, max_by(order_id, ordered_at) FILTER (WHERE quantity > 1) AS last_order
FROM orders
GROUP BY window(ordered_at, '1 minute')
