--! emit: final
SELECT currency, max(total) AS most_in_a_minute, sum(total) AS total, count_if(n > 10) AS busy_minutes
FROM (SELECT window, currency, count(*) AS n, sum(amount) AS total FROM transactions GROUP BY window(event_time, '1 minute'), currency) AS minutes
GROUP BY window(window_time(window), '1 hour'), currency
