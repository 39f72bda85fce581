SELECT sum(wide) AS total, avg(currency) AS c, sum(is_online) AS o FROM transactions GROUP BY window(event_time, '1 minute')
