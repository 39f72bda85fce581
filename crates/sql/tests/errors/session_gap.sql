SELECT count(*) AS n FROM transactions GROUP BY session_window(created_at, '0 seconds', '1 minute'), session_window(event_time, '-1 minute')
