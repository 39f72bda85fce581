SELECT account_id, count(*) AS n
FROM (SELECT account_id, event_time, created_at FROM transactions UNION ALL SELECT account_id, CAST(NULL AS TIMESTAMP), event_time FROM logins) AS x
GROUP BY window(event_time, '1 minute'), account_id
