SELECT n FROM (SELECT currency AS kind, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute'), currency) AS x
