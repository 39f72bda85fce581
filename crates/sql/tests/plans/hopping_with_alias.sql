SELECT upper(currency) AS unit, window.end, count(discount) AS discounted, count_if(amount > 100) AS large,
       sum(amount) FILTER (WHERE is_online) AS online, min(event_time) AS first_seen
FROM transactions
GROUP BY window(event_time, '1 minute', '10 seconds', '5 seconds'), unit
HAVING large >= 2 OR sum(amount) > 1000
