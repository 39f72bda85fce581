--! emitt: final
SELECT m.categry, upperr(currency) AS c, count(*) AS n
FROM transactions t JOIN merchants m ON t.merchant_id = m.merchant_id
WHERE amuont > 0 AND x.amount > 0
GROUP BY window(event_tme, '1 minute'), m.categry
