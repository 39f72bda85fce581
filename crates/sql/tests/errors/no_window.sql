SELECT currency, sum(amount) AS total FROM transactions GROUP BY currency
