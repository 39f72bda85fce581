SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY currency
  ORDER BY created_at
  PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
)
