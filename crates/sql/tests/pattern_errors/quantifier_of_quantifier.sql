SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  PATTERN (A+* B) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
)
