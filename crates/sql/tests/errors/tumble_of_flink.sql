SELECT account_id, count(*) AS payments FROM TABLE(TUMBLE(TABLE transactions, DESCRIPTOR(event_time), INTERVAL '1' MINUTE)) GROUP BY account_id
