SELECT risk, sum(risk) AS total, avg(quantity) AS mean FROM transactions GROUP BY window(event_time, INTERVAL 1 MINUTE), risk
