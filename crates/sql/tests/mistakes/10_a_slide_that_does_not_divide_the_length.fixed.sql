-- A slide that doesn't divide the window
SELECT count(*) AS payments
FROM transactions
GROUP BY window(event_time, '1 minute', '20 seconds')
