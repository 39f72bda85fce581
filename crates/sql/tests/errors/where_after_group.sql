SELECT currency, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute'), currency WHERE amount > 0
