SELECT kind, sum(n) AS total
FROM (SELECT window, currency AS kind, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute'), currency) AS x
WHERE n > 5
GROUP BY window(window_time(window), '1 hour'), kind
