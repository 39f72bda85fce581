SELECT * FROM tagged
