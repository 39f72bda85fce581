SELECT account_id, count(*) AS n FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id ORDER BY event_time
  PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
) GROUP BY account_id
