SELECT account_id, amount FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id ORDER BY event_time
  MEASURES LAST(A.amount) AS last_amount
  PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
)
