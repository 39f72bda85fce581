SELECT count(*) AS n FROM transactions GROUP BY window(created_at, '10 secnds')
