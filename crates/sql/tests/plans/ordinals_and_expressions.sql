SELECT window(event_time, '1 hour') AS w, date_trunc('day', created_at) AS day, quantity % 3 AS rest, sum(quantity) + 1 AS units
FROM transactions GROUP BY 1, 2, rest
