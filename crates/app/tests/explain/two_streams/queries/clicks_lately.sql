--! emit: final
SELECT window, page, count(*) AS clicks
FROM clicks
GROUP BY window(clicked_at, '1 hour', '1 second'), page
