"""Some rows of a Parquet file, in their order: cut_parquet.py IN OUT FIRST COUNT."""

import sys

import duckdb

source, target, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
duckdb.execute(f"COPY (SELECT * FROM read_parquet('{source}') LIMIT {count} OFFSET {first}) TO '{target}' (FORMAT parquet)")
