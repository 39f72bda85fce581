SELECT max(count(*)) AS most FROM transactions GROUP BY window(event_time, '1 minute')
