SELECT currency, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute'), currency UNION ALL SELECT account_id, 1L FROM logins
