SELECT DISTINCT currency FROM transactions ORDER BY currency LIMIT 10
