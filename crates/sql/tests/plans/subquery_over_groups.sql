SELECT window, upper(kind) AS loud, kind, total / n AS mean
FROM (SELECT window, currency AS kind, count(*) AS n, sum(amount) AS total FROM transactions
      GROUP BY window(event_time, '1 minute'), currency HAVING count(*) > 1) AS totals
WHERE total > 10
