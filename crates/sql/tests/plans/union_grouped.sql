--! emit: final
WITH both AS (
  SELECT account_id, event_time AS at, amount FROM transactions
  UNION ALL
  SELECT account_id, event_time, 1.5 FROM logins
)
SELECT account_id, s.label, count(*) AS n, sum(amount) AS total, max_by(amount, at) AS latest
FROM both LEFT JOIN small s ON s.id = length(account_id)
WHERE amount > 1
GROUP BY session_window(at, '5 minutes'), account_id, s.label
