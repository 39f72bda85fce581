SELECT account_id, count(*) AS payments FROM transactions WINDOW TUMBLING (SIZE 1 MINUTE) GROUP BY account_id
