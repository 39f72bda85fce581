SELECT window_start, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute')
