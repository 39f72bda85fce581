SELECT o.order_id, o.price * f.fee AS fee
FROM orders o
JOIN fees f ON o.product_id = f.product_id
