"""The three grocery results, recomputed by DuckDB from the Parquet files, as CSV: grocery_truth.py DATA_DIR OUT_DIR.

Written from the words of the examples, not from the project's SQL: windows by plain arithmetic on the epoch.
"""

import sys
from pathlib import Path

import duckdb

data, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute(f"""
    CREATE VIEW sale AS
    SELECT household_id, store_id, basket_id, product_id, quantity,
           CAST(sales_value AS DECIMAL(10, 2)) AS sales_value,
           CAST(retail_disc AS DECIMAL(10, 2)) AS retail_disc,
           CAST(coupon_disc AS DECIMAL(10, 2)) AS coupon_disc,
           CAST(coupon_match_disc AS DECIMAL(10, 2)) AS coupon_match_disc,
           epoch_us(CAST(transaction_timestamp AS TIMESTAMP)) AS at_us
    FROM read_parquet('{data}/transactions.parquet')
    WHERE quantity > 0 AND sales_value >= 0
""")
db.execute(f"CREATE VIEW product AS SELECT * FROM read_parquet('{data}/products.parquet')")

HOUR = 3_600_000_000
DAY = 24 * HOUR
QUARTER = HOUR // 4


def write(name: str, query: str) -> None:
    db.execute(f"COPY ({query}) TO '{out}/{name}.csv' (HEADER, DELIMITER ',')")


write(
    "sales_by_department_day",
    f"""
    SELECT at_us // {DAY} * {DAY} AS window_start_us, coalesce(department, 'UNKNOWN') AS department,
           count(*) AS line_items, sum(quantity)::BIGINT AS units, sum(sales_value) AS sales,
           sum(retail_disc + coupon_disc + coupon_match_disc) AS discounts
    FROM sale LEFT JOIN product USING (product_id) GROUP BY ALL ORDER BY ALL
    """,
)
write(
    "sales_by_store_hour",
    f"""
    SELECT at_us // {HOUR} * {HOUR} AS window_start_us, store_id, count(*) AS line_items, sum(sales_value) AS sales
    FROM sale GROUP BY ALL ORDER BY ALL
    """,
)
# Each line lies in the four windows that start up to three quarters of an hour before its own quarter.
write(
    "sales_by_category_sliding",
    f"""
    SELECT at_us // {QUARTER} * {QUARTER} - back * {QUARTER} AS window_start_us, product_category,
           count(*) AS line_items, sum(sales_value) AS sales
    FROM sale LEFT JOIN product USING (product_id), range(4) AS r(back) GROUP BY ALL ORDER BY ALL
    """,
)
