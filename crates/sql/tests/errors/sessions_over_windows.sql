SELECT account_id, sum(n) AS n
FROM (SELECT session_window, account_id, count(*) AS n FROM transactions GROUP BY session_window(event_time, '1 minute'), account_id) AS x
GROUP BY window(window_time(session_window), '1 hour'), account_id
