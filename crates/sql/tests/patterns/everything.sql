--! key: account_id
SELECT * FROM transactions MATCH_RECOGNIZE (
  PARTITION BY account_id, currency
  ORDER BY event_time ASC
  MEASURES
    MATCH_NUMBER() AS number,
    CLASSIFIER() AS part,
    FINAL LAST(B.amount, 1) AS b_before_last,
    RUNNING count(*) AS so_far,
    NEXT(LAST(AB.points)) AS points_after,
    PREV(FIRST(A.amount * A.quantity), 2) AS before,
    LAST(C.risk) AS last_risk,
    sum(amount) FILTER (WHERE quantity > 1) AS several
  ALL ROWS PER MATCH OMIT EMPTY MATCHES
  AFTER MATCH SKIP TO LAST AB
  PATTERN (START (A | B{2,3}?)+? {- C -} PERMUTE(D, E+)? B)
  WITHIN INTERVAL '1' HOUR
  SUBSET AB = (A, B)
  DEFINE
    A AS amount > PREV(amount) AND quantity > 1 AND currency = 'EUR',
    B AS B.points > LAST(A.points) OR count(B.*) < 3,
    C AS CLASSIFIER() = 'C' AND LAST(CLASSIFIER(), 1) <> 'A',
    D AS NEXT(amount, 2) IS NULL,
    E AS E.amount < FIRST(START.amount)
)
