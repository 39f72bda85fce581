//! Functions that are known and refused: why, and what to write instead.

const NOT_REPEATABLE: &str = "gives another value each time, so that a replay would change results";
const DIFFERS: &str = "isn't supported, since engines differ in it";
const OTHERWISE: &str = "is written otherwise here";
const NO_NESTED: &str = "isn't supported: columns hold plain values";

/// Names, reason, and what to write instead.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "now",
            "current_timestamp",
            "current_date",
            "localtimestamp",
            "getdate",
            "curdate",
            "current_time",
            "unix_timestamp",
            "sysdate",
        ],
        NOT_REPEATABLE,
        "use the event time, or window.end for the time of a result; unix_seconds(time) makes a number of a time",
    ),
    (
        &["rand", "random", "randn", "uuid", "gen_random_uuid", "shuffle"],
        NOT_REPEATABLE,
        "use a column of the record as the id",
    ),
    (
        &["monotonically_increasing_id", "spark_partition_id", "input_file_name"],
        NOT_REPEATABLE,
        "row-by-row results have source_partition and source_offset",
    ),
    (
        &["corr", "covar_pop", "covar_samp", "skewness", "kurtosis"],
        "isn't supported",
        "keep count(*) and the sums it is made of, and compute it where the result is shown",
    ),
    (
        &["percentile", "median", "percentile_cont", "percentile_disc", "quantile"],
        "isn't supported: it would have to keep every value",
        "write percentile_approx(value, 0.5), whose rank is off by 1/10000 of the rows at most",
    ),
    (
        &["approx_distinct", "hll", "ndv", "approx_count"],
        OTHERWISE,
        "write approx_count_distinct(value), or count(DISTINCT value) for the exact number",
    ),
    (
        &["mode"],
        "isn't supported: it would have to keep every value",
        "group by the value as well, and count the rows of the result",
    ),
    (
        &["first", "first_value", "any_value"],
        "takes whichever row comes first, which a replay or another engine may change",
        "write min_by(value, event_time): the first by event time, partition and offset",
    ),
    (
        &["last", "last_value"],
        "takes whichever row comes last, which a replay or another engine may change",
        "write max_by(value, event_time): the last by event time, partition and offset",
    ),
    (
        &["collect_list", "collect_set", "array_agg", "string_agg", "listagg", "group_concat", "slice", "array_join"],
        "stands in one form only, so that lists are ordered and can't outgrow the memory",
        "write array_join(slice(collect_list(text), 1, 100), ', '): the first 100 by event time",
    ),
    (
        &["tumble", "hop", "tumbling", "hopping", "time_bucket", "date_bin"],
        "isn't Spark's",
        "write GROUP BY window(event_time, '1 minute') or window(event_time, '1 minute', '10 seconds')",
    ),
    (
        &["row_number", "rank", "dense_rank", "lag", "lead", "ntile"],
        "isn't supported: it would need all rows of the stream",
        "group by window(event_time, '1 minute') instead",
    ),
    (
        &["regexp_replace", "regexp_extract", "regexp_like", "rlike", "regexp", "split", "split_part", "translate"],
        DIFFERS,
        "use replace(…), substring(…), startswith(…) or LIKE",
    ),
    (
        &[
            "date_format",
            "to_char",
            "from_unixtime",
            "from_utc_timestamp",
            "to_utc_timestamp",
            "format_number",
            "format_string",
        ],
        DIFFERS,
        "keep times and numbers in results, and format them where they are shown; CAST(… AS STRING) is there",
    ),
    (
        &[
            "cast",
            "int",
            "integer",
            "tinyint",
            "smallint",
            "bigint",
            "float",
            "double",
            "decimal",
            "string",
            "boolean",
            "binary",
            "to_number",
            "to_decimal",
            "try_to_number",
            "str",
            "convert",
        ],
        OTHERWISE,
        "write CAST(value AS TYPE), such as CAST(value AS DECIMAL(10, 2)); NULL where it can't be converted",
    ),
    (&["mod"], OTHERWISE, "write a % b, which has the sign of a"),
    (&["log", "log2"], OTHERWISE, "write ln(number) or log10(number); to another base, ln(a) / ln(base)"),
    (&["cbrt", "square"], OTHERWISE, "write power(number, exponent) or sqrt(number)"),
    (
        &["locate", "position", "strpos", "charindex"],
        OTHERWISE,
        "write instr(text, part): where the part begins, from 1; 0 if nowhere",
    ),
    (
        &["concat_ws", "initcap", "format", "printf", "repeat", "space"],
        "isn't supported",
        "write concat(a, ' ', b), upper(…) and lower(…), lpad(…) and rpad(…)",
    ),
    (
        &["date_part", "datepart", "dayname", "monthname"],
        OTHERWISE,
        "write extract(MONTH FROM time), or year(…), month(…), day(…), dayofweek(…), hour(…)",
    ),
    (
        &["timestampdiff", "timediff", "months_between", "age"],
        OTHERWISE,
        "write datediff(end, start) for days, or unix_seconds(end) - unix_seconds(start)",
    ),
    (
        &["timestampadd", "make_interval"],
        OTHERWISE,
        "write time + INTERVAL '5 minutes', date_add(date, days) or add_months(date, months)",
    ),
    (
        &["make_date", "make_timestamp", "next_day"],
        "isn't supported",
        "write CAST('2026-01-31' AS DATE), or date_add(…)",
    ),
    (&["isnan", "nanvl"], OTHERWISE, "compare with it: value = CAST('NaN' AS DOUBLE)"),
    (
        &["md5", "sha", "sha1", "sha2", "hash", "xxhash64", "crc32", "base64", "unbase64", "hex", "unhex"],
        "isn't supported",
        "select the value itself, and work it out where the result is read",
    ),
    (
        &[
            "struct",
            "named_struct",
            "array",
            "map",
            "explode",
            "posexplode",
            "size",
            "cardinality",
            "array_contains",
            "element_at",
            "transform",
            "from_json",
            "to_json",
            "get_json_object",
            "json_tuple",
        ],
        NO_NESTED,
        "make a column of the record's schema of each value that queries need",
    ),
    (
        &["bit_and", "bit_or", "bit_xor", "product", "histogram_numeric", "sum_distinct"],
        "isn't supported",
        "the aggregates that there are stand in docs/sql.md",
    ),
    (
        &["grouping", "grouping_id"],
        "isn't supported: there are no ROLLUP, CUBE and grouping sets",
        "write a query for each grouping",
    ),
];

/// Why a function is refused and what to write instead; `None` if it isn't on the list.
pub(crate) fn refusal(name: &str) -> Option<(String, &'static str)> {
    let name = name.to_ascii_lowercase();
    let (_, reason, instead) = REFUSED.iter().find(|(names, _, _)| names.contains(&name.as_str()))?;
    Some((format!("`{name}` {reason}"), instead))
}
