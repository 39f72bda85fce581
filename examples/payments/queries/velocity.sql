-- Accounts that pay more than 12 times in a minute: a person hardly does, a stolen card in a script does.
SELECT
  window(event_time, '1 minute'),
  account_id,
  count(*) AS payments,
  sum(CASE WHEN status = 'declined' THEN 1 ELSE 0 END) AS declined,
  min(event_time) AS first_payment,
  max(event_time) AS last_payment
FROM transactions
GROUP BY window(event_time, '1 minute'), account_id
HAVING count(*) > 12
