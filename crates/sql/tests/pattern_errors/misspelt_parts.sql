SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITON BY account_id
  PATTERN (A) WITHIN INTERVAL '1 hour' DEFINE A AS amount < 1
)
