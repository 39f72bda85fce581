SELECT account_id, sum(amount) OVER (PARTITION BY account_id ORDER BY event_time) AS running
FROM transactions
