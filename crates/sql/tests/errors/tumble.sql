SELECT count(*) AS n FROM transactions GROUP BY tumble(event_time, INTERVAL '1' MINUTE)
