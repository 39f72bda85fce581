-- A payment of more than ten times what the account paid on average in the five payments before it.
SELECT account_id, average_before, amount, transaction_id, event_time
FROM (SELECT * FROM transactions WHERE status = 'approved') MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES
    avg(USUAL.amount) AS average_before,
    PEAK.amount AS amount,
    PEAK.transaction_id AS transaction_id,
    PEAK.event_time AS event_time
  ONE ROW PER MATCH
  AFTER MATCH SKIP TO NEXT ROW
  PATTERN (USUAL{5} PEAK)
  WITHIN INTERVAL '1 hour'
  DEFINE PEAK AS PEAK.amount > 10 * avg(USUAL.amount)
)
