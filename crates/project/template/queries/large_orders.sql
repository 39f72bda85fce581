-- Each large order as it comes in, with its product's name.
SELECT
  o.order_id,
  o.ordered_at,
  o.customer_id,
  p.name AS product,
  o.quantity,
  o.quantity * o.price AS amount
FROM orders o
LEFT JOIN products p ON o.product_id = p.product_id
WHERE o.quantity * o.price >= 50
