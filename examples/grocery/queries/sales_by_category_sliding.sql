-- Sales per product category over the last hour, brought up to date every 15 minutes.
-- Products without a category, and those that aren't known, are a group of their own (NULL).
SELECT
  window(s.transaction_timestamp, '1 hour', '15 minutes'),
  p.product_category,
  count(*) AS line_items,
  sum(s.sales_value) AS sales
FROM sales s
LEFT JOIN products p ON s.product_id = p.product_id
GROUP BY window(s.transaction_timestamp, '1 hour', '15 minutes'), p.product_category
