use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Limits;
use crate::cursor::Cursor;
use crate::walk::{Care, Walk};

fn field(avro: &str) -> Schema {
    Schema::parse(&format!(r#"{{"type":"record","name":"T","fields":[{{"name":"a","type":{avro}}}]}}"#)).unwrap()
}

fn bytes(avro: &str, value: Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    encode(&field(avro), &json!({"a": value}), &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

const DECIMAL: &str = r#"{"type":"bytes","logicalType":"decimal","precision":8,"scale":2}"#;
const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
const MILLIS: &str = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
const DATE: &str = r#"{"type":"int","logicalType":"date"}"#;

#[test]
fn values_are_taken_as_people_write_them() {
    for (avro, value, shown) in [
        (r#""int""#, json!(5.0), json!(5)),
        (r#""long""#, json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_993_i64)),
        (r#""double""#, json!(5), json!(5.0)),
        (r#""float""#, json!(0.1), json!(0.1)),
        (r#"["null","string"]"#, json!("x"), json!("x")),
        (r#"["null","string"]"#, json!(null), json!(null)),
        (r#"["null","int","string"]"#, json!("x"), json!("x")),
        (DECIMAL, json!("5"), json!("5.00")),
        (DECIMAL, json!(12.5), json!("12.50")),
        (DECIMAL, json!(-7), json!("-7.00")),
        (MICROS, json!("2026-01-01T00:00:01Z"), json!("2026-01-01T00:00:01Z")),
        (MICROS, json!("2026-01-01T01:00:01.5+01:00"), json!("2026-01-01T00:00:01.500Z")),
        (MICROS, json!("2026-01-01 00:00:01.000001"), json!("2026-01-01T00:00:01.000001Z")),
        (MICROS, json!(1_000_000), json!("1970-01-01T00:00:01Z")),
        (MILLIS, json!(1_000), json!("1970-01-01T00:00:01Z")),
        (DATE, json!("1969-12-31"), json!("1969-12-31")),
        (DATE, json!(1), json!("1970-01-02")),
        (r#""bytes""#, json!("\u{ff}\0"), json!("\u{ff}\0")),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, json!("B"), json!("B")),
        (
            r#"{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}"#,
            json!("123E4567-e89b-12d3-a456-426614174000"),
            json!("123e4567-e89b-12d3-a456-426614174000"),
        ),
        (r#"{"type":"array","items":{"type":"map","values":"int"}}"#, json!([{"x": 1}, {}]), json!([{"x": 1}, {}])),
    ] {
        let encoded = bytes(avro, value.clone()).unwrap_or_else(|error| panic!("{avro} {value}: {error}"));
        assert_eq!(decode(&field(avro), &encoded).unwrap(), json!({"a": shown}), "{avro} {value}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_path() {
    for (avro, value, words) in [
        (r#""int""#, json!("5"), "a: expected integer, found the text `5`"),
        (r#""int""#, json!(5.5), "a: 5.5 is no integer"),
        (r#""int""#, json!(3_000_000_000_i64), "a: 3000000000 is too large for a 32-bit integer"),
        (r#""long""#, json!(1e19), "a: 1e+19 is no integer"),
        (r#""string""#, json!(1), "a: expected text, found the number 1"),
        (r#""string""#, json!("a\0"), "a: the text holds a NUL"),
        (r#""string""#, json!(null), "a: expected text, found null"),
        (r#""boolean""#, json!("true"), "a: expected true or false"),
        (r#"["null","int"]"#, json!("x"), "a: expected integer"),
        (r#"["int","string"]"#, json!(null), "a: expected one of int, string, found null"),
        (r#"["null","int","string"]"#, json!([]), "a: expected one of null, int, string, found a list"),
        (DECIMAL, json!("1.005"), "a: 1.005 has more than 2 digits after the point"),
        (DECIMAL, json!("1000000"), "a: 1000000 has more than 8 digits"),
        (DECIMAL, json!(0.300_000_000_000_000_04), "a: the number 0.30000000000000004 may have lost digits"),
        (DECIMAL, json!("abc"), "a: `abc` is not a decimal"),
        (MICROS, json!("yesterday"), "a: `yesterday` is no timestamp"),
        (MICROS, json!("2026-01-01T00:00:00.0000001Z"), "a: `2026-01-01T00:00:00.0000001Z` is finer"),
        (MILLIS, json!("2026-01-01T00:00:00.0001Z"), "a: a timestamp with microseconds"),
        (MICROS, json!(i64::MAX), "a: a timestamp of"),
        (DATE, json!("2026-02-30"), "a: `2026-02-30` is no date"),
        (r#""bytes""#, json!("€"), "a: bytes are written"),
        (r#"{"type":"fixed","name":"F","size":2}"#, json!("a"), "a: 1 bytes for a fixed of 2"),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, json!("C"), "a: `C` is none of A, B"),
        (
            r#"{"type":"array","items":{"type":"map","values":"int"}}"#,
            json!([{}, {"x": "y"}]),
            "a[1].x: expected integer",
        ),
        (r#""float""#, json!(1e300), "a: the number is too large"),
    ] {
        let error = bytes(avro, value.clone()).unwrap_err();
        assert!(error.starts_with(words), "{avro} {value}: {error}");
    }
}

#[test]
fn fields_are_known_or_refused_and_defaults_fill_in() {
    let schema = Schema::parse(
        r#"{"type":"record","name":"T","fields":[{"name":"amount","type":"int"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2},"default":"\u0001"},
           {"name":"n","type":["null","int"],"default":null}]}"#,
    )
    .unwrap();
    let mut out = vec![7];
    encode(&schema, &json!({"amount": 1}), &mut out).unwrap();
    assert_eq!(out, [7, 2, 2, 1, 0]);
    assert_eq!(decode(&schema, &out[1..]).unwrap(), json!({"amount": 1, "d": "0.01", "n": null}));
    let mut fails = |value: Value| encode(&schema, &value, &mut out).unwrap_err().to_string();
    assert_eq!(fails(json!({"amout": 1})), "amout: the schema `T` has no field `amout`; did you mean `amount`?");
    assert_eq!(fails(json!({"amount": 1, "zzz": 1})), "zzz: the schema `T` has no field `zzz`");
    assert_eq!(fails(json!({})), "amount: missing, and the schema has no default for it");
    assert_eq!(fails(json!([])), "value: expected an object, found a list");
    assert_eq!(out, [7, 2, 2, 1, 0], "failures leave no trace");
}

#[test]
fn endless_values_are_refused() {
    let schema =
        Schema::parse_lenient(r#"{"type":"record","name":"L","fields":[{"name":"n","type":"L","default":{}}]}"#, &[])
            .unwrap();
    assert!(encode(&schema, &json!({}), &mut Vec::new()).unwrap_err().message.contains("deeper than"));
    let list =
        Schema::parse(r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"],"default":null}]}"#)
            .unwrap();
    assert!(decode(&list, &[2; 10_000]).unwrap_err().to_string().contains("deeper than"));
}

/// A type of any shape, with a value of it in the form that `decode` shows.
fn typed(depth: u32) -> BoxedStrategy<(Value, BoxedStrategy<Value>)> {
    fn leaf(
        avro: Value,
        value: impl Strategy<Value = Value> + 'static,
    ) -> BoxedStrategy<(Value, BoxedStrategy<Value>)> {
        Just((avro, value.boxed())).boxed()
    }
    let leaves = prop_oneof![
        leaf(json!("null"), Just(Value::Null)),
        leaf(json!("boolean"), any::<bool>().prop_map(Value::from)),
        leaf(json!("int"), any::<i32>().prop_map(Value::from)),
        leaf(json!("long"), any::<i64>().prop_map(Value::from)),
        leaf(json!("float"), any::<i16>().prop_map(|number| json!(f64::from(number) / 8.0))),
        leaf(json!("double"), (-1e12..1e12).prop_map(Value::from)),
        leaf(json!("string"), "[a-zé€]{0,12}".prop_map(Value::from)),
        leaf(json!("bytes"), "[a-z\u{80}-\u{ff}]{0,12}".prop_map(Value::from)),
        leaf(
            json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}),
            (-999_999_999_i64..999_999_999)
                .prop_map(|number| crate::values::decimal_text(i128::from(number), 3).into())
        ),
    ];
    if depth == 0 {
        return leaves.boxed();
    }
    let list = typed(depth - 1).prop_map(|(avro, value)| {
        (json!({"type": "array", "items": avro}), prop::collection::vec(value, 0..4).prop_map(Value::from).boxed())
    });
    let map = typed(depth - 1).prop_map(|(avro, value)| {
        let entries = prop::collection::btree_map("[a-z]{1,4}", value, 0..4);
        (
            json!({"type": "map", "values": avro}),
            entries.prop_map(|entries| Value::Object(entries.into_iter().collect())).boxed(),
        )
    });
    let nullable = typed(depth - 1).prop_filter_map("a union takes neither null twice nor a union", |(avro, value)| {
        let fits = avro != json!("null") && !avro.is_array();
        fits.then(|| (json!(["null", avro]), prop_oneof![Just(Value::Null), value].boxed()))
    });
    let record = (any::<u64>(), prop::collection::vec(typed(depth - 1), 0..4)).prop_map(|(name, fields)| {
        let named = |(index, (avro, _)): (usize, &(Value, _))| json!({"name": format!("f{index}"), "type": avro});
        let avro: Vec<Value> = fields.iter().enumerate().map(named).collect();
        let values: Vec<_> = fields.into_iter().map(|(_, value)| value).collect();
        let object = values.prop_map(|values| {
            Value::Object(values.into_iter().enumerate().map(|(index, value)| (format!("f{index}"), value)).collect())
        });
        (json!({"type": "record", "name": format!("R{name}"), "fields": avro}), object.boxed())
    });
    prop_oneof![2 => leaves, 1 => list, 1 => map, 1 => nullable, 2 => record].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_value_comes_back_and_no_damage_panics(
        (avro, value) in typed(3).prop_flat_map(|(avro, value)| (Just(avro), value)),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let Ok(schema) = Schema::parse(&avro.to_string()) else { return Ok(()) };
        let again = Schema::parse(schema.canonical()).unwrap();
        prop_assert_eq!(again.canonical(), schema.canonical());
        let mut encoded = Vec::new();
        prop_assert_eq!(encode(&schema, &value, &mut encoded), Ok(()));
        prop_assert_eq!(&decode(&schema, &encoded).unwrap(), &value);
        let mut cursor = Cursor::new(&encoded, 0);
        let walked = Walk::new(&schema, Care::Structure, &Limits::default(), encoded.len()).value(schema.root(), &mut cursor, 1);
        prop_assert_eq!((walked, cursor.left()), (Some(()), 0));
        for end in 0..encoded.len() {
            prop_assert!(decode(&schema, &encoded[..end]).is_err());
        }
        for (index, byte) in damage {
            if !encoded.is_empty() {
                let at = index.index(encoded.len());
                encoded[at] = byte;
            }
        }
        drop(decode(&schema, &encoded));
        drop(decode(&schema, &noise));
    }
}
