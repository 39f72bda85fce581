-- Sales per store and hour.
SELECT
  window(transaction_timestamp, '1 hour'),
  store_id,
  count(*) AS line_items,
  sum(sales_value) AS sales
FROM sales
GROUP BY window(transaction_timestamp, '1 hour'), store_id
