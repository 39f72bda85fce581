SELECT CAST(amount AS VARCHAR(10)) AS a, CAST(amount AS DECIMAL(40, 2)) AS b, CAST(event_time AS INT) AS c, CAST(amount AS FLOAT) AS d,
       NULL AS e FROM transactions
