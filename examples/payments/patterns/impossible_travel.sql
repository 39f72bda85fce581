-- Impossible travel: the same card used in two countries within ten minutes, by hand. Online payments say nothing about where a card is.
SELECT account_id, from_country, to_country, left_at, arrived_at, from_transaction, to_transaction
FROM (SELECT * FROM transactions WHERE channel <> 'online') MATCH_RECOGNIZE (
  PARTITION BY account_id
  ORDER BY event_time
  MEASURES
    HERE.country AS from_country,
    THERE.country AS to_country,
    HERE.event_time AS left_at,
    THERE.event_time AS arrived_at,
    HERE.transaction_id AS from_transaction,
    THERE.transaction_id AS to_transaction
  ONE ROW PER MATCH
  AFTER MATCH SKIP TO LAST THERE
  PATTERN (HERE THERE)
  WITHIN INTERVAL '10 minutes'
  DEFINE THERE AS THERE.country <> HERE.country
)
