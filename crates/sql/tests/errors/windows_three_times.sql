SELECT max(most) AS greatest
FROM (
  SELECT window, max(payments) AS most
  FROM (SELECT window, count(*) AS payments FROM transactions GROUP BY window(event_time, '1 minute')) AS minutes
  GROUP BY window(window_time(window), '1 hour')
) AS hours
GROUP BY window(window_time(window), '1 day')
