-- Sales per category and minute. The file's name is the result's: the topic sales_per_minute and the view bi.sales_per_minute.
-- Results move while a minute is running. To have each once, when its minute is over, let the first line be: --! emit: final
SELECT
  window(o.ordered_at, '1 minute'),
  coalesce(p.category, 'unknown') AS category,
  count(*) AS orders,
  sum(o.quantity) AS units,
  sum(o.quantity * o.price) AS sales
FROM orders o
LEFT JOIN products p ON o.product_id = p.product_id
GROUP BY window(o.ordered_at, '1 minute'), coalesce(p.category, 'unknown')
