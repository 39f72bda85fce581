SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  PATTERN (PERMUTE(A, B, C, D, E, F, G, H)) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
)
