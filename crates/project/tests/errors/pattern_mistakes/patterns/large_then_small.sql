SELECT * FROM orders MATCH_RECOGNIZE (
  PARTITION BY product_id
  ORDER BY ordered_at
  MEASURES LARGE.price AS large_price, SMAL.price AS small_price
  PATTERN (LARGE SMALL+) WITHIN INTERVAL '1 hour'
  DEFINE LARGE AS price > 100, SMALL AS prize < 10
)
