SELECT window(event_time, '5 minutes'), count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute')
