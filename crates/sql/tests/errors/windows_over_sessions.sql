SELECT n FROM (SELECT window, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute')) AS x
GROUP BY session_window(window_time(window), '1 hour'), n
