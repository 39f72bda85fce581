SELECT order_id, 'café' AS c FROM orders
