SELECT page, max(clicks) AS most
FROM (SELECT window, page, count(*) AS clicks FROM clicks GROUP BY window(clicked_at, '1 minute'), page) AS minutes
GROUP BY window(window_time(window), '1 hour'), page
