--! table: false
SELECT transaction_id, event_time AS at, m.name, coalesce(category, 'UNKNOWN') AS category, rate, amount * rate AS in_euro,
       CASE WHEN amount > 100 THEN 'large' WHEN amount > 10 THEN 'middle' ELSE 'small' END AS size,
       CAST(amount AS DOUBLE) AS approximate, CAST(t.currency AS INT) AS number, quantity / 2 AS half, quantity * points AS product
FROM transactions AS t
JOIN merchants AS m USING (merchant_id)
LEFT JOIN rates AS r ON r.country = m.country AND r.currency = upper(t.currency)
WHERE amount BETWEEN 1 AND 1000.5 AND NOT (t.currency IN ('USD', 'GBP') OR name LIKE 'A%') AND event_time >= '2026-01-01'
