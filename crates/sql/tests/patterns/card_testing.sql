-- Small charges, then a large one.
SELECT account_id, first_small, large_time, smalls, amount / small_total AS ratio
FROM (SELECT * FROM transactions WHERE currency = 'EUR') MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES
    FIRST(SMALL.event_time) AS first_small,
    LARGE.event_time AS large_time,
    count(SMALL.*) AS smalls,
    sum(SMALL.amount) AS small_total,
    LARGE.amount AS amount
  ONE ROW PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (SMALL{3,} LARGE)
  WITHIN INTERVAL '10 minutes'
  DEFINE
    SMALL AS amount < 5,
    LARGE AS amount > 200 AND amount > 10 * avg(SMALL.amount)
) AS m
WHERE amount / small_total > 50
