SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES LAST(A.amount) + AS a, LAST(B.amount) b
  PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE A AS amount <, B amount > 1
)
