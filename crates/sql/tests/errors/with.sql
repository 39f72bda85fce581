WITH t AS (SELECT * FROM transactions) SELECT * FROM t
