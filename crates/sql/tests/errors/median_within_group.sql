SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS middle, first(amount) IGNORE NULLS AS first_amount
FROM transactions
GROUP BY window(event_time, '1 minute')
