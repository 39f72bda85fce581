SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES LAST(SMAL.amount) AS a, LARGE.amuont AS b, FIRST(LARGE.amount, 1000) AS d, LAST(SMALL.amount + LARGE.amount) AS e, LAST(1) AS f, sum(LAST(amount)) AS g, MATCH_NUMBER(1) AS h, lastt(amount) AS i
  AFTER MATCH SKIP TO LAST SMOL
  PATTERN (SMALL+ LARGE) WITHIN INTERVAL '1 hour'
  DEFINE SMALL AS amount, LARGE AS FINAL LAST(amount) > 1
)
