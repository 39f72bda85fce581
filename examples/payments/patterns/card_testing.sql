-- Card testing: three or more small charges, then a large one, all within ten minutes. Thieves try out stolen cards this way.
SELECT account_id, smalls, small_total, first_small, large_transaction, large_amount, currency, large_time
FROM (SELECT * FROM transactions WHERE status <> 'reversed') MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES
    count(SMALL.*) AS smalls,
    sum(SMALL.amount) AS small_total,
    FIRST(SMALL.event_time) AS first_small,
    LARGE.transaction_id AS large_transaction,
    LARGE.amount AS large_amount,
    LARGE.currency AS currency,
    LARGE.event_time AS large_time
  ONE ROW PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (SMALL{3,} LARGE)
  WITHIN INTERVAL '10 minutes'
  DEFINE
    SMALL AS amount < 5,
    LARGE AS amount >= 100
)
