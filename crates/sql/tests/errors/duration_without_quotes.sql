SELECT count(*) AS payments FROM transactions GROUP BY window(event_time, 1 minute)
