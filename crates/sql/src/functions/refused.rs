//! Functions that are known and refused: why, and what to write instead.

const NOT_REPEATABLE: &str = "gives another value each time, so that a replay would change results";
const DIFFERS: &str = "isn't supported, since engines differ in it";

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
        &["percentile", "median"],
        "isn't supported: it would have to keep every value",
        "write percentile_approx(value, 0.5), whose rank is off by 1/10000 of the rows at most",
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
];

/// Why a function is refused and what to write instead; `None` if it isn't on the list.
pub(crate) fn refusal(name: &str) -> Option<(String, &'static str)> {
    let name = name.to_ascii_lowercase();
    let (_, reason, instead) = REFUSED.iter().find(|(names, _, _)| names.contains(&name.as_str()))?;
    Some((format!("`{name}` {reason}"), instead))
}
