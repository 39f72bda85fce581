SELECT * FROM transactions MATCH_RECOGNIZE (DEFINE A AS amount < 1)
