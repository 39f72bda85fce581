SELECT n, label FROM (SELECT merchant_id, count(*) AS n FROM transactions GROUP BY window(event_time, '1 minute'), merchant_id) AS x JOIN small s ON s.id = x.merchant_id
