SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES LAST(A.amount) AS amount, LAST(B.amount) AS amount, LAST(A.points) AS account_id, NULL AS nothing
  PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
)
