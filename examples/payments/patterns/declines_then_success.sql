-- A burst of declines, then a success: somebody guesses until an amount or a code is let through.
SELECT account_id, declines, first_decline, success_transaction, success_amount, success_time
FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES
    count(DECLINED.*) AS declines,
    FIRST(DECLINED.event_time) AS first_decline,
    SUCCESS.transaction_id AS success_transaction,
    SUCCESS.amount AS success_amount,
    SUCCESS.event_time AS success_time
  ONE ROW PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (DECLINED{3,} SUCCESS)
  WITHIN INTERVAL '5 minutes'
  DEFINE
    DECLINED AS status = 'declined',
    SUCCESS AS status = 'approved'
)
