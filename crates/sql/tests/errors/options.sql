--! emit: finl
--! tabel: false
--! key: currencyy
SELECT currency FROM transactions
--! table: false
