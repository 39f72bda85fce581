SELECT customer_id, count(*) AS orders
FROM orders
GROUP BY session_window(ordered_at, '30 minutes'), customer_id
