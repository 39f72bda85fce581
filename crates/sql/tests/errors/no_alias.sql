SELECT currency, sum(amount), count(*), amount * 2 FROM transactions GROUP BY window(event_time, '1 minute'), currency
