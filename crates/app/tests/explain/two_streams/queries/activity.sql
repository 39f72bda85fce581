SELECT customer_id, ordered_at AS at FROM orders
UNION ALL
SELECT customer_id, clicked_at FROM clicks WHERE page IS NOT NULL
