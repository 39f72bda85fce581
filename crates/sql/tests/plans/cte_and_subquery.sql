WITH large AS (
  SELECT account_id, amount * 2 AS doubled, event_time, m.category
  FROM transactions t JOIN merchants m ON t.merchant_id = m.merchant_id
  WHERE amount > 100
)
SELECT category, r.rate, sum(doubled) AS total
FROM (SELECT *, upper(category) AS loud FROM large WHERE doubled < 1000) AS x
JOIN rates r ON r.currency = x.loud AND r.country = x.category
WHERE x.account_id <> 'a'
GROUP BY window(event_time, '1 minute'), category, r.rate
