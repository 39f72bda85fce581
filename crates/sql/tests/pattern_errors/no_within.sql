SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES LAST(B.amount) AS amount
  PATTERN (A B)
  DEFINE A AS amount < 1
)
