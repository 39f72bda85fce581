//! Functions that are known and refused: why, and what to write instead.

const NOT_REPEATABLE: &str = "gives another value each time, so that a replay would change results";
const NOT_YET: &str = "isn't supported yet";
const DIFFERS: &str = "isn't supported, since engines differ in it";

/// Names, reason, and what to write instead.
const REFUSED: [(&[&str], &str, &str); 13] = [
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
        &[
            "stddev",
            "stddev_samp",
            "stddev_pop",
            "std",
            "variance",
            "var_samp",
            "var_pop",
            "corr",
            "covar_pop",
            "covar_samp",
        ],
        NOT_YET,
        "keep count(*), sum(x) and sum(x * x), and compute it where the result is shown",
    ),
    (
        &["approx_count_distinct", "percentile", "percentile_approx", "approx_percentile", "median", "mode"],
        NOT_YET,
        "group by the value as well, and count the rows of the result",
    ),
    (
        &["first", "last", "first_value", "last_value", "any_value", "max_by", "min_by"],
        NOT_YET,
        "use min(…) or max(…), or a row-by-row query",
    ),
    (
        &["collect_list", "collect_set", "array_agg", "string_agg", "listagg", "group_concat"],
        NOT_YET,
        "keep a row-by-row query beside the aggregates",
    ),
    (&["bool_and", "bool_or", "every", "some", "any"], NOT_YET, "use count_if(condition) and compare it with count(*)"),
    (&["session_window"], NOT_YET, "use window(event_time, '5 minutes')"),
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
];

/// Why a function is refused and what to write instead; `None` if it isn't on the list.
pub(crate) fn refusal(name: &str) -> Option<(String, &'static str)> {
    let name = name.to_ascii_lowercase();
    let (_, reason, instead) = REFUSED.iter().find(|(names, _, _)| names.contains(&name.as_str()))?;
    Some((format!("`{name}` {reason}"), instead))
}
