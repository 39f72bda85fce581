--! emit: final
SELECT
  currency,
  stddev(amount) AS deviation, stddev_pop(risk) AS deviation_of_all, variance(quantity) AS spread, var_pop(quantity) AS spread_of_all,
  bool_and(is_online) AS all_online, every(amount > 0) AS all_positive, bool_or(is_online) AS one_online, some(quantity > 3) AS one_large,
  count(DISTINCT account_id) AS accounts, approx_count_distinct(account_id) AS about_accounts, approx_count_distinct(risk, 0.01) AS about_risks,
  percentile_approx(amount, 0.95) AS p95, approx_percentile(event_time, 0.5, 100) AS middle,
  min_by(account_id, event_time) AS first_account, max_by(merchant_id, amount) FILTER (WHERE is_online) AS largest,
  array_join(slice(collect_list(transaction_id), 1, 100), ', ') AS ids,
  array_join(slice(collect_list(currency) FILTER (WHERE amount > 5), 1, 3), '') AS three
FROM transactions
GROUP BY window(event_time, '1 minute'), currency
HAVING count(DISTINCT account_id) > 1
