SELECT window.start AS began, count(*) AS n, session_window.middle AS m
FROM transactions WHERE session_window.start > event_time
GROUP BY session_window(event_time, '5 minutes')
