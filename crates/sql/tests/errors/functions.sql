SELECT round(amount, quantity) AS a, substring(currency) AS b, date_trunc('hours', event_time) AS c, length(amount) AS d,
       date_format(event_time, 'yyyy') AS e, currency LIKE account_id AS f, trunc(booked_on, 'hour') AS g
FROM transactions
