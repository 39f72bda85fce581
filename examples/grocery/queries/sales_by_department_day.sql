-- Sales per department and day. Products that aren't in the reference table count under UNKNOWN, so that no line is lost.
SELECT
  window(s.transaction_timestamp, '1 day'),
  coalesce(p.department, 'UNKNOWN') AS department,
  count(*) AS line_items,
  sum(s.quantity) AS units,
  sum(s.sales_value) AS sales,
  sum(s.retail_disc + s.coupon_disc + s.coupon_match_disc) AS discounts
FROM sales s
LEFT JOIN products p ON s.product_id = p.product_id
GROUP BY window(s.transaction_timestamp, '1 day'), coalesce(p.department, 'UNKNOWN')
