--! emit: final
SELECT account_id, session_window.start AS began, session_window.end AS ended, count(*) AS payments, sum(amount) AS spend
FROM transactions
GROUP BY session_window(event_time, '5 minutes'), account_id
