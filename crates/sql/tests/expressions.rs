//! What expressions give, with their types: values worked out by hand from Spark's documentation and sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;

use arrow_array::{
    Array as _, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use sql::{Condition, Query};

/// Three rows: ordinary values, extreme ones, and NULL wherever it may be.
fn rows() -> RecordBatch {
    let decimals = |values: Vec<Option<i128>>, precision, scale| {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let times = |values: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"));
    RecordBatch::try_new(
        common::transactions(),
        vec![
            Arc::new(StringArray::from(vec!["t1", "t2", "t3"])),
            Arc::new(StringArray::from(vec!["a1", " ä2 ", ""])),
            Arc::new(Int32Array::from(vec![Some(7), Some(i32::MIN), None])),
            decimals(vec![Some(12_345), Some(-9_999_999_999), Some(0)], 10, 2),
            decimals(vec![Some(5), Some(9_999_999_999), None], 10, 2),
            Arc::new(Int32Array::from(vec![Some(3), Some(i32::MAX), None])),
            Arc::new(Int64Array::from(vec![10, i64::MAX, i64::MIN])),
            Arc::new(Float64Array::from(vec![Some(2.5), Some(f64::NAN), None])),
            Arc::new(StringArray::from(vec![Some("EUR"), Some("12.7"), None])),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            Arc::new(Date32Array::from(vec![Some(20_512), Some(-1), None])),
            times(vec![Some(1_772_282_096_123_456), Some(-1), Some(0)]),
            times(vec![Some(1_772_282_096_000_000), Some(i64::MAX), None]),
            decimals(vec![Some(10_000_000_000), Some(10_i128.pow(38) - 1), None], 38, 10),
        ],
    )
    .unwrap()
}

fn query(expression: &str) -> Query {
    let text = format!("SELECT {expression} AS x FROM transactions");
    sql::compile("q", &text, &common::catalog()).unwrap_or_else(|diagnostics| {
        panic!("{}", diagnostics.iter().map(|diagnostic| diagnostic.render(&text, "q")).collect::<String>())
    })
}

/// Type and values of an expression, NULL as `-`.
fn evaluate(expression: &str) -> (String, Vec<String>) {
    let query = query(expression);
    let compiled = &query.output[0].1;
    let batch = rows();
    let array = compiled.evaluate(&batch).unwrap();
    let field = query.schema.field(0);
    assert_eq!(array.data_type(), field.data_type(), "{expression}");
    assert_eq!(array.len(), batch.num_rows(), "{expression}");
    assert!(field.is_nullable() || array.null_count() == 0, "{expression} is NULL and says it can't be");
    let kind = match array.data_type() {
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string(),
    };
    let options = FormatOptions::default().with_null("-");
    let formatter = ArrayFormatter::try_new(&array, &options).unwrap();
    (kind, (0..array.len()).map(|row| formatter.value(row).to_string()).collect())
}

fn check(cases: &[(&str, &str, [&str; 3])]) {
    let mut wrong = Vec::new();
    for (expression, kind, values) in cases {
        let (found_kind, found) = evaluate(expression);
        if found_kind != *kind || found != *values {
            wrong.push(format!("{expression}: expected {kind} {values:?}, found {found_kind} {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arithmetic_on_whole_numbers() {
    check(&[
        ("quantity + 1", "int", ["4", "-2147483648", "-"]),
        ("points + 1", "bigint", ["11", "-9223372036854775808", "-9223372036854775807"]),
        ("quantity * points", "bigint", ["30", "9223372034707292161", "-"]),
        ("merchant_id / 2", "double", ["3.5", "-1073741824.0", "-"]),
        ("quantity / 0", "double", ["-", "-", "-"]),
        ("points % quantity", "bigint", ["1", "1", "-"]),
        ("-7 % 3", "int", ["-1", "-1", "-1"]),
        ("quantity % 0", "int", ["-", "-", "-"]),
        ("points div quantity", "bigint", ["3", "4294967298", "-"]),
        ("merchant_id div -1", "bigint", ["-7", "2147483648", "-"]),
        ("-merchant_id", "int", ["-7", "-2147483648", "-"]),
        ("abs(merchant_id)", "int", ["7", "-2147483648", "-"]),
        ("2147483648", "bigint", ["2147483648", "2147483648", "2147483648"]),
        ("-2147483648", "int", ["-2147483648", "-2147483648", "-2147483648"]),
        ("9223372036854775808", "decimal(19,0)", ["9223372036854775808", "9223372036854775808", "9223372036854775808"]),
        ("10 div 3 * 3", "bigint", ["9", "9", "9"]),
        ("5L", "bigint", ["5", "5", "5"]),
    ]);
}

#[test]
fn arithmetic_on_decimals() {
    check(&[
        ("amount + discount", "decimal(11,2)", ["123.50", "0.00", "-"]),
        ("amount - 1", "decimal(11,2)", ["122.45", "-100000000.99", "-1.00"]),
        ("amount * 1.005", "decimal(15,5)", ["124.06725", "-100499999.98995", "0.00000"]),
        ("amount * quantity", "decimal(21,2)", ["370.35", "-214748364678525163.53", "-"]),
        ("amount / 100", "decimal(14,6)", ["1.234500", "-999999.999900", "0.000000"]),
        ("amount / discount", "decimal(23,13)", ["2469.0000000000000", "-1.0000000000000", "-"]),
        ("discount / amount", "decimal(23,13)", ["0.0004050222762", "-1.0000000000000", "-"]),
        ("1.00 / 3", "decimal(7,6)", ["0.333333", "0.333333", "0.333333"]),
        ("2.00 / 3", "decimal(7,6)", ["0.666667", "0.666667", "0.666667"]),
        ("amount % 10", "decimal(4,2)", ["3.45", "-9.99", "0.00"]),
        ("amount / 0", "decimal(14,6)", ["-", "-", "-"]),
        ("amount * 1e0", "double", ["123.45", "-99999999.99", "0.0"]),
        ("wide + wide", "decimal(38,9)", ["2.000000000", "20000000000000000000000000000.000000000", "-"]),
        ("wide * wide", "decimal(38,6)", ["1.000000", "-", "-"]),
        ("wide / 3", "decimal(38,10)", ["0.3333333333", "3333333333333333333333333333.3333333333", "-"]),
        ("wide - 0.5", "decimal(38,9)", ["0.500000000", "9999999999999999999999999999.500000000", "-"]),
        ("-amount", "decimal(10,2)", ["-123.45", "99999999.99", "0.00"]),
        ("0.05", "decimal(2,2)", ["0.05", "0.05", "0.05"]),
        ("amount + NULL", "decimal(11,2)", ["-", "-", "-"]),
    ]);
}

#[test]
fn rounding() {
    check(&[
        ("round(amount, 1)", "decimal(10,1)", ["123.5", "-100000000.0", "0.0"]),
        ("round(amount)", "decimal(9,0)", ["123", "-100000000", "0"]),
        ("round(amount, -2)", "decimal(9,0)", ["100", "-100000000", "0"]),
        ("round(risk)", "double", ["3.0", "NaN", "-"]),
        ("round(quantity, -1)", "int", ["0", "-2147483646", "-"]),
        ("floor(amount)", "decimal(9,0)", ["123", "-100000000", "0"]),
        ("ceil(amount)", "decimal(9,0)", ["124", "-99999999", "0"]),
        ("ceil(risk)", "bigint", ["3", "0", "-"]),
        ("floor(-1.5)", "decimal(2,0)", ["-2", "-2", "-2"]),
        ("floor(quantity)", "bigint", ["3", "2147483647", "-"]),
    ]);
}

#[test]
fn conditions_know_three_values() {
    check(&[
        ("is_online AND NULL", "boolean", ["-", "false", "-"]),
        ("is_online OR NULL", "boolean", ["true", "-", "-"]),
        ("NOT is_online", "boolean", ["false", "true", "-"]),
        ("is_online IS TRUE", "boolean", ["true", "false", "false"]),
        ("is_online IS NOT FALSE", "boolean", ["true", "false", "true"]),
        ("quantity <=> NULL", "boolean", ["false", "false", "true"]),
        ("quantity <=> merchant_id", "boolean", ["false", "false", "true"]),
        ("quantity IS DISTINCT FROM 3", "boolean", ["false", "true", "true"]),
        ("currency IN ('EUR', NULL)", "boolean", ["true", "-", "-"]),
        ("currency NOT IN ('EUR', NULL)", "boolean", ["false", "-", "-"]),
        ("quantity IN (1, 2, 3.0)", "boolean", ["true", "false", "-"]),
        ("quantity IN (merchant_id, 3)", "boolean", ["true", "false", "-"]),
        ("amount BETWEEN 0 AND 200", "boolean", ["true", "false", "true"]),
        ("amount NOT BETWEEN discount AND 200", "boolean", ["false", "true", "-"]),
        ("wide > 0.99999999999", "boolean", ["true", "true", "-"]),
        ("wide = points", "boolean", ["false", "false", "-"]),
        ("amount = 123.450", "boolean", ["true", "false", "false"]),
        ("risk = risk", "boolean", ["true", "true", "-"]),
        ("risk > 1e300", "boolean", ["false", "true", "-"]),
        ("-0e0 = 0", "boolean", ["true", "true", "true"]),
        ("risk - risk = -0e0", "boolean", ["true", "false", "-"]),
        ("event_time > '2026-01-01'", "boolean", ["true", "false", "false"]),
        ("booked_on = '2026-02-28'", "boolean", ["true", "false", "-"]),
        ("booked_on < event_time", "boolean", ["true", "true", "-"]),
        ("currency LIKE 'E_R'", "boolean", ["true", "false", "-"]),
        ("currency LIKE '12.%' OR currency NOT LIKE '%R'", "boolean", ["false", "true", "-"]),
        ("currency ILIKE 'e%'", "boolean", ["true", "false", "-"]),
        ("'50%' LIKE '50\\%'", "boolean", ["true", "true", "true"]),
        ("'50x' LIKE '50!%' ESCAPE '!'", "boolean", ["false", "false", "false"]),
    ]);
}

#[test]
fn choosing() {
    check(&[
        ("coalesce(quantity, points)", "bigint", ["3", "2147483647", "-9223372036854775808"]),
        ("coalesce(discount, 0)", "decimal(12,2)", ["0.05", "99999999.99", "0.00"]),
        ("coalesce(NULL, currency, 'none')", "string", ["EUR", "12.7", "none"]),
        ("nullif(quantity, 3)", "int", ["-", "2147483647", "-"]),
        ("nullif(currency, 'x')", "string", ["EUR", "12.7", "-"]),
        ("if(is_online, 'shop', 'door')", "string", ["shop", "door", "door"]),
        ("nvl2(discount, 1, 0)", "int", ["1", "1", "0"]),
        ("CASE quantity WHEN 3 THEN 'three' WHEN 4 THEN 'never' ELSE currency END", "string", ["three", "12.7", "-"]),
        ("CASE WHEN amount > 0 THEN 1 WHEN amount < 0 THEN -1 END", "int", ["1", "-1", "-"]),
        (
            "CASE WHEN quantity = 0 THEN 0 ELSE 1 / quantity END",
            "double",
            ["0.3333333333333333", "4.656612875245797e-10", "-"],
        ),
        ("greatest(quantity, merchant_id, 5)", "int", ["7", "2147483647", "5"]),
        ("least(discount, NULL, 1.0)", "decimal(10,2)", ["0.05", "1.00", "1.00"]),
        ("greatest(risk, 3e0)", "double", ["3.0", "NaN", "3.0"]),
        ("least(currency, 'F')", "string", ["EUR", "12.7", "F"]),
        ("isnull(risk)", "boolean", ["false", "false", "true"]),
    ]);
}

#[test]
fn casts() {
    check(&[
        ("CAST(currency AS INT)", "int", ["-", "12", "-"]),
        ("CAST(currency AS DECIMAL(3, 0))", "decimal(3,0)", ["-", "13", "-"]),
        ("CAST(currency AS DOUBLE)", "double", ["-", "12.7", "-"]),
        ("CAST(points AS INT)", "int", ["10", "-1", "0"]),
        ("CAST(risk AS INT)", "int", ["2", "0", "-"]),
        ("CAST(amount AS INT)", "int", ["123", "-99999999", "0"]),
        ("CAST(amount AS DECIMAL(5, 1))", "decimal(5,1)", ["123.5", "-", "0.0"]),
        ("CAST(amount AS DECIMAL(5, 2))", "decimal(5,2)", ["123.45", "-", "0.00"]),
        ("CAST(points AS DECIMAL(20, 0))", "decimal(20,0)", ["10", "9223372036854775807", "-9223372036854775808"]),
        ("CAST(quantity AS DECIMAL(4, 2))", "decimal(4,2)", ["3.00", "-", "-"]),
        ("CAST(risk AS DECIMAL(4, 0))", "decimal(4,0)", ["3", "-", "-"]),
        ("CAST(amount AS STRING)", "string", ["123.45", "-99999999.99", "0.00"]),
        ("CAST(risk AS STRING)", "string", ["2.5", "NaN", "-"]),
        (
            "CAST(event_time AS STRING)",
            "string",
            ["2026-02-28 12:34:56.123456", "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00"],
        ),
        ("CAST(booked_on AS STRING)", "string", ["2026-02-28", "1969-12-31", "-"]),
        ("CAST(is_online AS INT)", "int", ["1", "0", "-"]),
        ("CAST(quantity AS BOOLEAN)", "boolean", ["true", "true", "-"]),
        ("CAST('yes' AS BOOLEAN)", "boolean", ["true", "true", "true"]),
        ("CAST(event_time AS BIGINT)", "bigint", ["1772282096", "-1", "0"]),
        ("CAST(event_time AS DATE)", "date", ["2026-02-28", "1969-12-31", "1970-01-01"]),
        ("CAST(1 AS TIMESTAMP)", "timestamp", ["1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z"]),
        ("amount::STRING", "string", ["123.45", "-99999999.99", "0.00"]),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("upper(account_id)", "string", ["A1", " Ä2 ", ""]),
        ("length(account_id)", "int", ["2", "4", "0"]),
        ("trim(account_id)", "string", ["a1", "ä2", ""]),
        ("ltrim(account_id)", "string", ["a1", "ä2 ", ""]),
        ("substring(account_id, 2, 1)", "string", ["1", "ä", ""]),
        ("SUBSTRING(currency FROM -2)", "string", ["UR", ".7", "-"]),
        ("left(currency, 2) || '-' || right(currency, 1)", "string", ["EU-R", "12-7", "-"]),
        ("concat(transaction_id, '/', account_id)", "string", ["t1/a1", "t2/ ä2 ", "t3/"]),
        ("replace(currency, '.', ',')", "string", ["EUR", "12,7", "-"]),
        ("replace(account_id, '', 'x')", "string", ["a1", " ä2 ", ""]),
        ("lpad(account_id, 3, '0')", "string", ["0a1", " ä2", "000"]),
        ("rpad(account_id, 3)", "string", ["a1 ", " ä2", "   "]),
        ("startswith(currency, 'E')", "boolean", ["true", "false", "-"]),
        ("instr(account_id, '2')", "int", ["0", "3", "0"]),
        ("reverse(account_id)", "string", ["1a", " 2ä ", ""]),
        ("'it''s' || '\\n'", "string", ["it's\n", "it's\n", "it's\n"]),
    ]);
}

#[test]
fn times() {
    check(&[
        ("year(event_time)", "int", ["2026", "1969", "1970"]),
        ("dayofweek(booked_on)", "int", ["7", "4", "-"]),
        ("hour(event_time) * 10000 + minute(event_time) * 100 + second(event_time)", "int", ["123456", "235959", "0"]),
        ("EXTRACT(DOY FROM booked_on)", "int", ["59", "365", "-"]),
        (
            "date_trunc('hour', event_time)",
            "timestamp",
            ["2026-02-28T12:00:00Z", "1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z"],
        ),
        (
            "date_trunc('MONTH', event_time)",
            "timestamp",
            ["2026-02-01T00:00:00Z", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"],
        ),
        (
            "date_trunc('week', event_time)",
            "timestamp",
            ["2026-02-23T00:00:00Z", "1969-12-29T00:00:00Z", "1969-12-29T00:00:00Z"],
        ),
        ("trunc(booked_on, 'quarter')", "date", ["2026-01-01", "1969-10-01", "-"]),
        ("to_date(event_time)", "date", ["2026-02-28", "1969-12-31", "1970-01-01"]),
        ("date_add(booked_on, 2)", "date", ["2026-03-02", "1970-01-02", "-"]),
        ("add_months(booked_on, -12)", "date", ["2025-02-28", "1968-12-31", "-"]),
        ("datediff(event_time, booked_on)", "int", ["0", "0", "-"]),
        ("last_day(booked_on)", "date", ["2026-02-28", "1969-12-31", "-"]),
        ("unix_millis(event_time)", "bigint", ["1772282096123", "-1", "0"]),
        (
            "timestamp_seconds(points)",
            "timestamp",
            [
                "1970-01-01T00:00:10Z",
                "ERROR: Cast error: Failed to convert 9223372036854775807 to datetime for Timestamp(µs, \"UTC\")",
                "ERROR: Cast error: Failed to convert -9223372036854775808 to datetime for Timestamp(µs, \"UTC\")",
            ],
        ),
        (
            "event_time + INTERVAL '1 minute 30 seconds'",
            "timestamp",
            ["2026-02-28T12:36:26.123456Z", "1970-01-01T00:01:29.999999Z", "1970-01-01T00:01:30Z"],
        ),
        (
            "event_time - INTERVAL 1 DAY",
            "timestamp",
            ["2026-02-27T12:34:56.123456Z", "1969-12-30T23:59:59.999999Z", "1969-12-31T00:00:00Z"],
        ),
        ("DATE '2026-01-31'", "date", ["2026-01-31", "2026-01-31", "2026-01-31"]),
    ]);
}

#[test]
fn a_rule_counts_null_as_false() {
    let condition = |text: &str| Condition::compile(text, &common::transactions()).unwrap();
    let truths = |text: &str| condition(text).evaluate(&rows()).unwrap().iter().map(Option::unwrap).collect::<Vec<_>>();
    assert_eq!(truths("quantity > 3"), [false, true, false]);
    assert_eq!(truths("NOT quantity > 3"), [true, false, false]);
    assert_eq!(truths("currency in ('EUR','USD','GBP')"), [true, false, false]);
    assert_eq!(truths("NULL"), [false, false, false]);
    assert_eq!(truths("true"), [true, true, true]);
    assert_eq!(condition("quantity > 3 AND amount > quantity").columns(), ["quantity", "amount"]);
}

#[test]
fn a_rule_has_its_own_messages() {
    let wrong = |text: &str| Condition::compile(text, &common::transactions()).unwrap_err().remove(0);
    assert_eq!(wrong("amount").message, "a rule needs a condition, and this is a decimal(10,2)");
    assert_eq!(wrong("count(*) > 1").message, "the aggregate `count` can't stand in a rule");
    assert_eq!(wrong("amont > 0").help.as_deref(), Some("did you mean `amount`?"));
    assert_eq!(wrong("amount > 0 amount").message, "expected the end, found `amount`");
    assert_eq!(wrong("").span, 0..0);
    assert_eq!(wrong("event_time < now()").span, 13..18);
    assert_eq!(wrong("transactions.amount > 0").message, "there is no table `transactions` in FROM");
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let expression = query("amount - discount").output[0].1.clone();
    let batch = rows();
    let columns = batch.schema().fields().len();
    let turned = batch.project(&(0..columns).rev().collect::<Vec<_>>()).unwrap();
    assert_eq!(&expression.evaluate(&batch).unwrap(), &expression.evaluate(&turned).unwrap());
    assert_eq!(expression.columns(), ["amount", "discount"]);
    let without = batch.project(&[0]).unwrap();
    assert!(expression.evaluate(&without).unwrap_err().to_string().contains("no column `amount`"));
    let empty = batch.slice(0, 0);
    assert_eq!(expression.evaluate(&empty).unwrap().len(), 0);
}

#[test]
fn an_expression_without_columns_has_a_value_per_row() {
    let (_, values) = evaluate("1 + 1");
    assert_eq!(values, ["2", "2", "2"]);
    assert_eq!(query("1 + 1").output[0].1.evaluate(&rows().slice(0, 0)).unwrap().len(), 0);
}

#[test]
fn long_and_deep_texts_are_refused_or_compiled_and_never_overflow_the_stack() {
    let compile = |text: &str| sql::compile("q", text, &common::catalog());
    for terms in [100, 200, 1_000, 2_900, 100_000] {
        let sum = vec!["quantity"; terms].join(" + ");
        let result = compile(&format!("SELECT {sum} AS x FROM transactions"));
        assert_eq!(result.is_ok(), terms <= 200, "{terms}: {:?}", result.err());
    }
    for depth in [10, 40, 100, 3_000, 200_000] {
        let nested = format!("{}quantity{}", "(".repeat(depth), ")".repeat(depth));
        let result = compile(&format!("SELECT {nested} AS x FROM transactions"));
        assert_eq!(result.is_ok(), depth < 45, "{depth}: {:?}", result.err());
    }
    let list = (0..2_500).map(|item| item.to_string()).collect::<Vec<_>>().join(", ");
    assert!(compile(&format!("SELECT quantity FROM transactions WHERE quantity IN ({list})")).is_ok());
    assert!(compile(&format!("SELECT '{}' AS x FROM transactions", "x".repeat(300_000))).is_err());
}
