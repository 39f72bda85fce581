SELECT count(*) AS payments
FROM transactions
GROUP BY tumble(event_time, INTERVAL '1' MINUTE)
