--! emit: final
SELECT session_window(ordered_at, '30 minutes'), count(*) AS orders
FROM orders
GROUP BY session_window(ordered_at, '30 minutes')
