SELECT event_time - created_at AS a, event_time + 5 AS b, booked_on + INTERVAL '1 day' AS c, booked_on - 1 AS d FROM transactions
