//! Functions, operators and casts over edge values: our compiled expressions, what is printed of them, and the text itself, each on the
//! real Spark, give the same types and values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test reports by panicking")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema};
use spark::Session;
use spark::print::relation;
use sql::{Catalog, Expression, StreamTable};

/// All pairs of a type's edge values stand in some row: the first column runs fastest.
const ROWS: usize = 900;

const DAY_US: i64 = 86_400_000_000;

fn ints() -> Vec<Option<i32>> {
    vec![
        None,
        Some(0),
        Some(1),
        Some(-1),
        Some(2),
        Some(3),
        Some(-7),
        Some(10),
        Some(99),
        Some(1_000_000),
        Some(i32::MAX),
        Some(i32::MIN),
    ]
}

fn longs() -> Vec<Option<i64>> {
    vec![
        None,
        Some(0),
        Some(1),
        Some(-1),
        Some(7),
        Some(-12),
        Some(1_700_000_000),
        Some(1 << 31),
        Some((1 << 53) + 1),
        Some(i64::MAX),
        Some(i64::MIN),
    ]
}

fn doubles() -> Vec<Option<f64>> {
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -2.5,
        1.5,
        3.7,
        1e-7,
        12_345.678,
        1e7,
        1e15,
        9.3e18,
        -1e300,
        f64::MIN_POSITIVE,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ]
    .into_iter()
    .map(Some)
    .chain([None])
    .collect()
}

/// Unscaled values of decimals with this precision.
fn decimals(precision: u32) -> Vec<Option<i128>> {
    let most = 10_i128.pow(precision) - 1;
    vec![
        None,
        Some(0),
        Some(1),
        Some(-1),
        Some(5),
        Some(50),
        Some(-150),
        Some(149),
        Some(12_345),
        Some(most / 3),
        Some(most),
        Some(-most),
    ]
}

fn texts() -> Vec<Option<&'static str>> {
    vec![
        None,
        Some(""),
        Some(" "),
        Some("a"),
        Some("abc"),
        Some("ABC abc"),
        Some("  padded  "),
        Some("äÖß€😀"),
        Some("İıſ"),
        Some("a%b_c\\d"),
        Some("\ttab\n"),
        Some("abcabcabc"),
        Some("x"),
        Some("'quoted'"),
    ]
}

fn number_texts() -> Vec<Option<&'static str>> {
    vec![
        None,
        Some(""),
        Some("0"),
        Some("1"),
        Some("-1"),
        Some("+5"),
        Some(" 42 "),
        Some("1.5"),
        Some("-2.50"),
        Some(".5"),
        Some("5."),
        Some("1e3"),
        Some("1E-3"),
        Some("2147483648"),
        Some("9223372036854775808"),
        Some("99999999999999999999999999999999999999"),
        Some("NaN"),
        Some("Infinity"),
        Some("-inf"),
        Some("1d"),
        Some("1_000"),
        Some("0x10"),
        Some("--1"),
        Some("abc"),
        Some("true"),
        Some("F"),
        Some("yes"),
        Some("0.005"),
    ]
}

fn time_texts() -> Vec<Option<&'static str>> {
    vec![
        None,
        Some(""),
        Some("2026-01-31"),
        Some("2026-1-3"),
        Some("2024-02-29"),
        Some("2023-02-29"),
        Some("2026"),
        Some("2026-07"),
        Some("1969-12-31"),
        Some("0001-01-01"),
        Some("9999-12-31"),
        Some("2026-01-31 12:34:56"),
        Some("2026-01-31T12:34:56.123456"),
        Some("2026-01-31 12:34:56.1234567"),
        Some("2026-01-31 12:34"),
        Some("2026-01-31 1:2:3"),
        Some("2026-01-31T12:34:56Z"),
        Some("2026-01-31 12:34:56+02:00"),
        Some("2026-01-31 24:00:00"),
        Some(" 2026-01-31 "),
        Some("31.01.2026"),
        Some("2026-13-01"),
        Some("now"),
        Some("12:34:56"),
        Some("2026-01-31 12"),
        Some("2026-01-31 x"),
        Some("2026-01-31 12Z"),
        Some("2026-01-31 12:34Z"),
        Some("2026-01-31 12:"),
        Some("2026-01-31T12"),
    ]
}

fn dates() -> Vec<Option<i32>> {
    vec![
        None,
        Some(0),
        Some(-1),
        Some(1),
        Some(20_512),
        Some(19_782),
        Some(20_453),
        Some(18_261),
        Some(-25_567),
        Some(-719_162),
        Some(2_932_896),
        Some(11_016),
    ]
}

fn times() -> Vec<Option<i64>> {
    vec![
        None,
        Some(0),
        Some(-1),
        Some(1),
        Some(1_772_282_096_123_456),
        Some(1_709_164_800_000_000),
        Some(-DAY_US),
        Some(DAY_US - 1),
        Some(-62_135_596_800_000_000),
        Some(253_402_300_799_999_999),
        Some(1_767_225_599_999_999),
        Some(951_782_400_000_000),
    ]
}

/// The value of a row in the first and second column of a type.
fn spread<T: Copy>(values: &[Option<T>]) -> (Vec<Option<T>>, Vec<Option<T>>) {
    let count = values.len();
    assert!(count * count <= ROWS, "{count} values don't fit");
    let first = (0..ROWS).map(|row| values[row % count]).collect();
    let second = (0..ROWS).map(|row| values[row / count % count]).collect();
    (first, second)
}

fn table() -> RecordBatch {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let mut add = |name: &str, pair: (ArrayRef, ArrayRef)| {
        columns.push((format!("{name}1"), pair.0));
        columns.push((format!("{name}2"), pair.1));
    };
    macro_rules! pair {
        ($values:expr, $make:expr) => {{
            let (first, second) = spread(&$values);
            (Arc::new($make(first)) as ArrayRef, Arc::new($make(second)) as ArrayRef)
        }};
    }
    add("i", pair!(ints(), Int32Array::from));
    add("l", pair!(longs(), Int64Array::from));
    add("d", pair!(doubles(), Float64Array::from));
    for (name, precision, scale) in [("m", 10_u8, 2_i8), ("w", 38, 10), ("z", 38, 0), ("q", 20, 18), ("k", 5, 5)] {
        let make = |values| Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap();
        add(name, pair!(decimals(u32::from(precision)), make));
    }
    add("s", pair!(texts(), StringArray::from));
    add("n", pair!(number_texts(), StringArray::from));
    add("c", pair!(time_texts(), StringArray::from));
    add("b", pair!([None, Some(true), Some(false)], BooleanArray::from));
    add("y", pair!(dates(), Date32Array::from));
    add("t", pair!(times(), |values| TimestampMicrosecondArray::from(values).with_timezone("UTC")));
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

/// Each template with each of the words for `{}`.
fn each(templates: &[&str], words: &[&str]) -> Vec<String> {
    templates.iter().flat_map(|template| words.iter().map(move |word| template.replace("{}", word))).collect()
}

/// Each template with each pair of words for `{}` and `[]`.
fn pairs(templates: &[&str], first: &[&str], second: &[&str]) -> Vec<String> {
    let halves = each(templates, first);
    halves.iter().flat_map(|half| second.iter().map(move |word| half.replace("[]", word))).collect()
}

fn expressions() -> Vec<String> {
    let numbers_1 = ["i1", "l1", "d1", "m1", "w1", "z1", "q1", "k1"];
    let numbers_2 = ["i2", "l2", "d2", "m2", "w2", "z2", "q2", "k2"];
    let mut all = pairs(&["{} + []", "{} - []", "{} * []", "{} / []", "{} % []"], &numbers_1, &numbers_2);
    all.extend(each(
        &[
            "{} + 1",
            "{} - 0.5",
            "{} * 3L",
            "{} / 3",
            "{} / 0",
            "{} % 7",
            "{} * 1.10",
            "2 * {}",
            "10 - {}",
            "1.000 / {}",
            "{} / 1e0",
            "{} % 2.5",
        ],
        &numbers_1,
    ));
    all.extend(each(
        &["-{}", "abs({})", "round({})", "round({}, 1)", "round({}, -2)", "floor({})", "ceil({})", "ceiling({})"],
        &numbers_1,
    ));
    all.extend(each(
        &[
            "sign({})",
            "signum({})",
            "sqrt({})",
            "exp({})",
            "ln({})",
            "log10({})",
            "power({}, 2)",
            "pow({}, 0.5)",
            "power({}, d2)",
            "round({}, 3)",
        ],
        &numbers_1,
    ));
    all.extend(pairs(&["{} div []", "{} = []", "{} < []"], &["i1", "l1"], &["i2", "l2"]));
    let comparisons = ["{} = []", "{} <> []", "{} < []", "{} <= []", "{} > []", "{} >= []", "{} <=> []"];
    for (first, second) in [
        ("i1", "i2"),
        ("i1", "l2"),
        ("l1", "d2"),
        ("d1", "d2"),
        ("m1", "m2"),
        ("m1", "i2"),
        ("m1", "d2"),
        ("m1", "q2"),
        ("s1", "s2"),
        ("y1", "y2"),
        ("t1", "t2"),
        ("y1", "t2"),
        ("b1", "b2"),
    ] {
        all.extend(pairs(&comparisons, &[first], &[second]));
    }
    all.extend(each(
        &["{} = 1.5", "{} > 0", "{} <> -1", "{} BETWEEN -1 AND 100", "{} NOT IN (1, 5)", "{} IN (0, 1.5, NULL)"],
        &["i1", "l1", "m1", "d1"],
    ));
    all.extend(
        [
            "b1 AND b2",
            "b1 OR b2",
            "NOT b1",
            "b1 IS TRUE",
            "b1 IS NOT TRUE",
            "b1 IS FALSE",
            "b1 IS NOT FALSE",
            "i1 IS NULL",
            "s1 IS NOT NULL",
            "i1 IS DISTINCT FROM i2",
            "i1 IS NOT DISTINCT FROM i2",
            "s1 IN ('abc', 'x', '')",
            "s1 NOT IN ('abc', NULL)",
            "CASE WHEN i1 > 0 THEN 'p' WHEN i1 < 0 THEN 'n' END",
            "CASE i1 WHEN 1 THEN 10 WHEN 2 THEN 20L ELSE 0 END",
            "CASE WHEN b1 THEN m1 ELSE 1 END",
            "CASE WHEN b1 THEN i1 ELSE d2 END",
            "if(b1, i1, l2)",
            "if(i1 > 0, s1, s2)",
            "coalesce(i1, i2)",
            "coalesce(m1, i2, 0)",
            "ifnull(s1, 'none')",
            "nvl(d1, 0)",
            "nullif(i1, 1)",
            "nullif(s1, s2)",
            "nullif(m1, 0)",
            "nvl2(i1, s1, s2)",
            "isnull(s1)",
            "isnotnull(i1)",
            "greatest(i1, i2)",
            "least(i1, i2)",
            "greatest(d1, d2)",
            "least(d1, d2)",
            "greatest(s1, s2)",
            "least(s1, s2)",
            "greatest(m1, i2)",
            "least(y1, y2)",
            "greatest(t1, t2)",
            "greatest(b1, b2)",
            "least(l1, i2, 5)",
            "greatest(w1, m2)",
            "t1 = '2026-02-28 12:34:56.123456'",
            "y1 >= '2026-01-31'",
            "y1 < DATE '2000-02-29'",
            "t1 <= TIMESTAMP '2024-02-29 00:00:00'",
            "t1 BETWEEN '2000-01-01' AND '2030-01-01'",
        ]
        .map(str::to_owned),
    );
    all.extend(each(
        &[
            "upper({})",
            "ucase({})",
            "lower({})",
            "lcase({})",
            "length({})",
            "char_length({})",
            "character_length({})",
            "len({})",
            "trim({})",
            "ltrim({})",
            "rtrim({})",
            "reverse({})",
            "substring({}, 2, 3)",
            "substr({}, 1)",
            "substring({}, 0, 2)",
            "substring({}, -3, 2)",
            "substring({}, -100, 99)",
            "substring({}, 2, -1)",
            "substring({}, i1, i2)",
            "substring({}, i2)",
            "left({}, 2)",
            "left({}, i1)",
            "right({}, 2)",
            "right({}, i2)",
            "concat({})",
            "concat({}, '-', s2)",
            "{} || s2",
            "concat('a', {}, 'b', {})",
            "replace({}, 'abc', 'X')",
            "replace({}, 'a')",
            "replace({}, '', 'X')",
            "replace({}, s2, 'Y')",
            "lpad({}, 6, '*')",
            "rpad({}, 6, 'xy')",
            "lpad({}, 5)",
            "rpad({}, 0, 'x')",
            "lpad({}, 4, s2)",
            "rpad({}, -1, 'x')",
            "lpad({}, 9, '')",
            "startswith({}, 'a')",
            "startswith({}, s2)",
            "endswith({}, 'c')",
            "endswith({}, s2)",
            "contains({}, 'b')",
            "contains({}, s2)",
            "instr({}, 'b')",
            "instr({}, s2)",
            "instr({}, '')",
            "{} LIKE 'a%'",
            "{} LIKE '%b_c%'",
            "{} LIKE '_'",
            "{} NOT LIKE '%'",
            "{} LIKE ''",
            "{} LIKE 'a\\\\%b\\\\_c%'",
            "{} LIKE '%!%%' ESCAPE '!'",
            "{} ILIKE 'ABC%'",
            "{} ILIKE '%ö%'",
            "{} LIKE '%\\\\\\\\d'",
            "{} = 'abc'",
            "{} < 'abd'",
            "{} = '\\'quoted\\''",
            "{} = '\\ttab\\n'",
        ],
        &["s1", "n1"],
    ));
    all.extend(each(
        &[
            "year({})",
            "quarter({})",
            "month({})",
            "weekofyear({})",
            "day({})",
            "dayofmonth({})",
            "dayofweek({})",
            "weekday({})",
            "dayofyear({})",
            "hour({})",
            "minute({})",
            "second({})",
            "date_trunc('year', {})",
            "date_trunc('quarter', {})",
            "date_trunc('month', {})",
            "date_trunc('week', {})",
            "date_trunc('day', {})",
            "date_trunc('hour', {})",
            "date_trunc('minute', {})",
            "date_trunc('second', {})",
            "date_trunc('millisecond', {})",
            "date_trunc('microsecond', {})",
            "trunc({}, 'year')",
            "trunc({}, 'quarter')",
            "trunc({}, 'month')",
            "trunc({}, 'week')",
            "to_date({})",
            "date({})",
            "to_timestamp({})",
            "timestamp({})",
            "date_add({}, 30)",
            "date_add({}, i2)",
            "dateadd({}, -1)",
            "date_sub({}, 365)",
            "add_months({}, 1)",
            "add_months({}, -13)",
            "add_months({}, 1200)",
            "datediff({}, DATE '2026-01-31')",
            "datediff({}, y2)",
            "date_diff(t2, {})",
            "last_day({})",
            "unix_seconds(CAST({} AS TIMESTAMP))",
            "unix_millis(CAST({} AS TIMESTAMP))",
            "unix_micros(CAST({} AS TIMESTAMP))",
            "{} = {}",
        ],
        &["y1", "t1"],
    ));
    all.extend(each(
        &["t1 + INTERVAL '{}'", "t1 - INTERVAL '{}'", "INTERVAL '{}' + t1"],
        &["5 minutes", "1 microsecond", "3 days", "1 hour 30 minutes", "2 weeks", "0 seconds"],
    ));
    all.extend(
        [
            "timestamp_seconds(i1)",
            "timestamp_seconds(1700000000L)",
            "timestamp_millis(i1)",
            "timestamp_micros(l1)",
            "timestamp_micros(i1)",
            "timestamp_millis(1700000000123L)",
        ]
        .map(str::to_owned),
    );
    let types =
        ["INT", "BIGINT", "DOUBLE", "DECIMAL(10, 2)", "DECIMAL(38, 10)", "DECIMAL(38, 0)", "DECIMAL(5, 5)", "STRING"];
    let casts = ["CAST({} AS [])"];
    all.extend(pairs(&casts, &["i1", "l1", "m1", "w1", "z1", "q1", "k1"], &types));
    all.extend(pairs(&casts, &["n1", "s1", "c1"], &types));
    all.extend(pairs(&casts, &["d1"], &types));
    all.extend(pairs(&casts, &["i1", "l1", "d1", "m1", "n1", "s1"], &["BOOLEAN"]));
    all.extend(pairs(&casts, &["b1"], &["INT", "BIGINT", "DOUBLE", "DECIMAL(10, 2)", "STRING", "BOOLEAN"]));
    all.extend(pairs(&casts, &["c1", "y1", "t1", "n1"], &["DATE", "TIMESTAMP", "STRING"]));
    all.extend(
        [
            "to_date(c1)",
            "to_timestamp(c1)",
            "i1::BIGINT",
            "n1::DECIMAL(10,2)",
            "CAST(t1 AS BIGINT)",
            "CAST(l1 AS TIMESTAMP)",
            "CAST(i1 AS TIMESTAMP)",
            "CAST(t1 AS DOUBLE)",
        ]
        .map(str::to_owned),
    );
    all.extend(
        [
            "CAST(NULL AS INT)",
            "1",
            "-5",
            "2147483648",
            "-2147483648",
            "9223372036854775807L",
            "1.50",
            "0.05",
            "-1.5e0",
            "1e-7",
            "'it''s'",
            "TRUE",
            "DATE '0001-01-01'",
            "TIMESTAMP '1969-12-31 23:59:59.999999'",
            "1.1 + 2.25",
            "7 / 2",
            "7 div 2",
            "-7 % 3",
            "1.00 / 3",
            "round(2.5)",
            "round(-2.5e0)",
            "power(2, 10)",
            "10 * 1.5",
            "99999999999999999999 + 1",
            "CAST('12.345' AS DECIMAL(4, 1)) * 2",
        ]
        .map(str::to_owned),
    );
    all
}

fn compile(text: &str, catalog: &Catalog) -> Result<Expression, String> {
    let query = format!("SELECT {text} AS x FROM t");
    match sql::compile("q", &query, catalog) {
        Ok(query) => Ok(query.output[0].1.clone()),
        Err(diagnostics) => Err(diagnostics.iter().map(|diagnostic| diagnostic.render(&query, "q")).collect()),
    }
}

/// Expressions over the table on Spark, each with its column or Spark's words.
async fn on_spark(session: &mut Session, table: &RecordBatch, expressions: &[String]) -> Vec<Result<ArrayRef, String>> {
    let mut results = Vec::new();
    for chunk in expressions.chunks(60) {
        match evaluate(session, table, chunk).await {
            Ok(columns) => results.extend(columns.into_iter().map(Ok)),
            Err(_) => {
                for one in chunk {
                    let found = evaluate(session, table, std::slice::from_ref(one)).await;
                    results.push(found.map(|mut columns| columns.remove(0)).map_err(|error| error.to_string()));
                }
            }
        }
    }
    results
}

async fn evaluate(session: &mut Session, table: &RecordBatch, expressions: &[String]) -> spark::Result<Vec<ArrayRef>> {
    let columns: Vec<(String, String)> =
        expressions.iter().enumerate().map(|(index, text)| (format!("x{index}"), format!("({text})"))).collect();
    let batches = session.collect(relation::project(relation::local(table)?, &columns)).await?;
    Ok((0..expressions.len()).map(|index| common::concat(&batches, index)).collect())
}

/// Functions whose last digit depends on the library that computes them.
fn is_transcendental(text: &str) -> bool {
    ["exp(", "ln(", "log10(", "power(", "pow("].iter().any(|name| text.contains(name))
}

/// Where two columns differ: type, or the first row with both values.
fn difference(ours: &ArrayRef, sparks: &ArrayRef, is_rough: bool) -> Option<String> {
    if ours.data_type() != sparks.data_type() {
        return Some(format!("type {} here, {} on Spark", ours.data_type(), sparks.data_type()));
    }
    let equal = |row: usize| -> bool {
        if ours.is_null(row) || sparks.is_null(row) {
            return ours.is_null(row) == sparks.is_null(row);
        }
        if *ours.data_type() != DataType::Float64 {
            return ours.slice(row, 1).to_data() == sparks.slice(row, 1).to_data();
        }
        let (a, b) = (ours.as_primitive::<Float64Type>().value(row), sparks.as_primitive::<Float64Type>().value(row));
        let close = is_rough && (a - b).abs() <= a.abs() * 4.0 * f64::EPSILON;
        (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits() || close
    };
    let rows: Vec<usize> = (0..ours.len().max(sparks.len())).filter(|&row| !equal(row)).collect();
    let row = *rows.first()?;
    let show = |array: &ArrayRef| {
        let options = FormatOptions::default().with_null("NULL");
        ArrayFormatter::try_new(array, &options).unwrap().value(row).to_string()
    };
    Some(format!("{} rows, the first {row}: {:?} here, {:?} on Spark", rows.len(), show(ours), show(sparks)))
}

/// The values of the row's columns that a text names, for reports.
fn inputs(table: &RecordBatch, text: &str, report: &str) -> String {
    let Some(row) = report.split("the first ").nth(1).and_then(|rest| rest.split(':').next()?.parse::<usize>().ok())
    else {
        return String::new();
    };
    let mut out = String::new();
    for (field, array) in table.schema().fields().iter().zip(table.columns()) {
        if text.split(|c: char| !c.is_alphanumeric()).any(|word| word == field.name()) {
            let options = FormatOptions::default().with_null("NULL");
            let formatter = ArrayFormatter::try_new(array, &options).unwrap();
            out.push_str(&format!(" {}={:?}", field.name(), formatter.value(row).to_string()));
        }
    }
    out
}

#[tokio::test]
async fn scalars_mean_what_spark_means() {
    let table = table();
    let stream = StreamTable { schema: table.schema(), event_time: "t1".to_owned(), key: "t1".to_owned() };
    let catalog = Catalog { streams: [("t".to_owned(), stream)].into(), ..Catalog::default() };
    let texts = expressions();
    let mut compiled = Vec::new();
    let mut refused = BTreeSet::new();
    let mut refused_by_spark = BTreeSet::new();
    for text in texts {
        match compile(&text, &catalog) {
            // `engine: spark` refuses the query.
            Ok(expression) if !sql::spark::refusals_of(&expression).is_empty() => {
                refused_by_spark.insert(text);
            }
            Ok(expression) => compiled.push((text, expression)),
            Err(why) => {
                refused.insert(format!("{text}: {why}"));
            }
        }
    }
    let mut session = common::session().await;
    let originals: Vec<String> = compiled.iter().map(|(text, _)| text.clone()).collect();
    let printed: Vec<String> = compiled.iter().map(|(_, expression)| expression.to_spark()).collect();
    let originals = on_spark(&mut session, &table, &originals).await;
    let from_printed = on_spark(&mut session, &table, &printed).await;
    let mut wrong = Vec::new();
    for (((text, expression), printed), (original, from_printed)) in
        compiled.iter().zip(&printed).zip(originals.iter().zip(&from_printed))
    {
        let ours = expression.evaluate(&table).unwrap();
        for (what, found) in [("text", original), ("printed", from_printed)] {
            // Spark makes a time of today out of a text without a date; what is printed keeps it from doing so.
            if what == "text" && printed.contains("RLIKE") {
                continue;
            }
            let found = match found {
                Ok(found) => difference(&ours, found, is_transcendental(text)),
                Err(error) => Some(error.chars().take(300).collect()),
            };
            if let Some(found) = found {
                wrong.push(format!("{text} [{what}]: {found}{}\n      {printed}", inputs(&table, text, &found)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ of {}:\n{}", wrong.len(), compiled.len(), wrong.join("\n"));
    assert!(refused.is_empty(), "{refused:#?}");
    let expected = [
        "-w1",
        "-z1",
        "abs(w1)",
        "abs(z1)",
        "round(z1, -2)",
        "w1 % q2",
        "z1 % 2.5",
        "z1 % k2",
        "z1 % m2",
        "z1 % q2",
        "z1 % w2",
    ];
    assert!(refused_by_spark.iter().eq(&expected), "{refused_by_spark:?}");
    assert!(compiled.len() > 800, "only {} expressions were compared", compiled.len());
}

#[test]
fn every_function_of_the_list_is_compared() {
    let reference = sql::function_reference();
    let scalars = reference.split("### Choosing").nth(1).unwrap();
    let mut names = BTreeSet::new();
    for line in scalars.lines().filter(|line| line.starts_with("| `")) {
        let call = line.split('|').nth(1).unwrap();
        for quoted in call.split('`').skip(1).step_by(2) {
            names.insert(quoted.split('(').next().unwrap().to_owned());
        }
    }
    assert!(names.len() > 60, "{names:?}");
    let corpus = expressions().join("\n");
    let missing: Vec<&String> = names.iter().filter(|name| !corpus.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "no expression compares {missing:?}");
}
