--! emit: final
--! key: category
SELECT m.category, m.country, count(*) AS payments, sum(t.amount) AS spend, avg(amount) AS mean,
       sum(amount) / count(*) AS mean_too, max(points) AS most
FROM transactions t LEFT JOIN merchants m ON t.merchant_id = m.merchant_id
WHERE currency = 'EUR' AND amount > 0
GROUP BY window(event_time, '10 seconds'), m.category, m.country
HAVING count(*) > 1
