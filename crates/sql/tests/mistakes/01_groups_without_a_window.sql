SELECT currency, sum(amount) AS spend
FROM transactions
GROUP BY currency
