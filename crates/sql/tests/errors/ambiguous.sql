SELECT currency FROM transactions t JOIN rates r ON t.currency = r.currency AND t.account_id = r.country
