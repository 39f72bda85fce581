-- One row per accepted payment with its merchant. A payment at a merchant that isn't known keeps its row, with NULLs.
SELECT
  t.transaction_id,
  t.event_time,
  t.account_id,
  t.amount,
  t.currency,
  t.country,
  t.channel,
  t.status,
  t.merchant_id,
  m.name AS merchant_name,
  m.category AS merchant_category,
  m.country AS merchant_country
FROM transactions t
LEFT JOIN merchants m ON t.merchant_id = m.merchant_id
