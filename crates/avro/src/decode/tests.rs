use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use serde_json::json;

use super::*;
use crate::{Encoder, Reencoder};

fn schema(fields: &str) -> Schema {
    Schema::parse(&format!(r#"{{"type":"record","name":"T","namespace":"n","fields":[{fields}]}}"#)).unwrap()
}

fn field(avro: &str) -> Schema {
    schema(&format!(r#"{{"name":"a","type":{avro}}}"#))
}

/// A value with header 1 and this payload.
fn framed(payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 1][..], payload].concat()
}

fn column(values: &[&[u8]]) -> BytesColumn {
    let mut column = BytesColumn::default();
    values.iter().for_each(|value| column.push(Some(value)));
    column
}

fn decode(reader: &Schema, writer: &Schema, payloads: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::new(reader, None, Limits::default()).unwrap();
    decoder.add_writer(1, writer).unwrap();
    let framed: Vec<_> = payloads.iter().map(|payload| framed(payload)).collect();
    decoder.decode(&column(&framed.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

/// The failure of a single record of one field.
fn failure(avro: &str, payload: &[u8]) -> String {
    let schema = field(avro);
    let decoded = decode(&schema, &schema, &[payload]);
    assert_eq!(decoded.batch.num_rows(), 0);
    format!("{}: {}", decoded.failures[0].1.reason(), decoded.failures[0].1)
}

fn refusal(reader: &Schema, writer: &Schema) -> String {
    let mut decoder = Decoder::new(reader, None, Limits::default()).unwrap();
    let error = decoder.add_writer(1, writer).unwrap_err();
    assert!(decoder.knows(1));
    let decoded = decoder.decode(&column(&[&framed(&[0])]));
    assert_eq!(decoded.failures[0].1.reason(), RejectReason::IncompatibleSchema);
    error.message
}

const DECIMAL: &str = r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#;
const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
const MILLIS: &str = r#"{"type":"long","logicalType":"timestamp-millis"}"#;

#[test]
fn results_may_hold_numbers_that_are_none_and_times_of_any_year() {
    let long = |value: i64| {
        let mut out = Vec::new();
        crate::put::long(value, &mut out);
        out
    };
    for (avro, payload) in [
        (r#""double""#, f64::NAN.to_le_bytes().to_vec()),
        // The day after 9999-12-31, which stands for "for ever" in many systems.
        (r#"{"type":"int","logicalType":"date"}"#, long(2_932_897)),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, long(i64::MIN)),
    ] {
        let text = format!(r#"{{"type":"record","name":"r","fields":[{{"name":"a","type":{avro}}}]}}"#);
        let schema = Schema::parse(&text).unwrap();
        let mut values = BytesColumn::default();
        values.push(Some(&[vec![0, 0, 0, 0, 1], payload].concat()));
        let decoded = |limits| {
            let mut decoder = Decoder::new(&schema, None, limits).unwrap();
            decoder.add_writer(1, &schema).unwrap();
            decoder.decode(&values).rows.len()
        };
        assert_eq!(decoded(Limits::default()), 0, "{avro}");
        assert_eq!(decoded(Limits { any_value: true, ..Limits::default() }), 1, "{avro}");
    }
}

#[test]
fn bad_values_are_named() {
    for (avro, payload, expected) in [
        (r#""int""#, &[][..], "decode: at byte 5: field `a`: the record ends inside a number"),
        (r#""int""#, &[0xff, 0xff, 0xff, 0xff, 0x1f], "decode: at byte 5: field `a`: a number is too large"),
        (r#""int""#, &[2, 0], "decode: at byte 6: 1 bytes are left over"),
        (r#""string""#, &[6, b'a'], "decode: at byte 5: field `a`: a length of 3 where 1 bytes are left"),
        (r#""string""#, &[4, 0xc3, 0x28], "decode: at byte 5: field `a`: a text is not valid UTF-8"),
        (r#""string""#, &[4, b'a', 0], "invalid_value: field `a`: the text holds a NUL"),
        (r#""double""#, &[0, 0, 0, 0, 0, 0, 0xf8, 0x7f], "invalid_value: field `a`: NaN"),
        (r#""double""#, &[0, 0, 0, 0, 0, 0, 0xf0, 0xff], "invalid_value: field `a`: -inf"),
        (r#""float""#, &[0, 0, 0x80, 0x7f], "invalid_value: field `a`: inf"),
        (r#""boolean""#, &[7], "decode: at byte 5: field `a`: a boolean is 7"),
        (DECIMAL, &[4, 0x27, 0x10], "invalid_value: field `a`: a decimal beyond its precision of 4 digits"),
        (DECIMAL, &[0], "invalid_value: field `a`: a decimal of no bytes"),
        (
            MICROS,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            "invalid_value: field `a`: a timestamp of",
        ),
        (
            r#"{"type":"int","logicalType":"date"}"#,
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            "invalid_value: field `a`: a date of",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A"]}"#,
            &[2],
            "decode: at byte 5: field `a`: there is no enum symbol 1",
        ),
        (r#"["null","int"]"#, &[4], "decode: at byte 5: field `a`: there is no union branch 2 of 2"),
        (r#"{"type":"fixed","name":"F","size":3}"#, &[1, 2], "decode: at byte 5: field `a`: the record ends"),
    ] {
        let found = failure(avro, payload);
        assert!(found.starts_with(expected), "{avro} {payload:?}: {found}");
    }
}

#[test]
fn headers_ids_and_sizes_are_checked() {
    let schema = field(r#""int""#);
    let mut decoder = Decoder::new(&schema, None, Limits { record_bytes_max: 8, ..Limits::default() }).unwrap();
    decoder.add_writer(1, &schema).unwrap();
    let mut values = column(&[b"\0\0\0\0\x01\x02", b"{}", b"\0\0\0\0\x02\x02", b"\0\0\0\0\x01\x02\0\0\0"]);
    values.push(None);
    assert_eq!(decoder.missing(&values), BTreeSet::from([2]));
    decoder.refuse_writer(3, "it is protobuf");
    values.push(Some(b"\0\0\0\0\x03\x02"));
    let decoded = decoder.decode(&values);
    assert_eq!(decoded.rows, [0]);
    let reasons: Vec<_> = decoded.failures.iter().map(|(row, failure)| (*row, failure.reason())).collect();
    let expected = [
        (1, RejectReason::WireFormat),
        (2, RejectReason::UnknownSchema),
        (3, RejectReason::TooLarge),
        (4, RejectReason::WireFormat),
        (5, RejectReason::IncompatibleSchema),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(decoded.failures[4].1.rejection().message, "schema id 3: it is protobuf");
}

#[test]
fn a_bad_record_leaves_the_others_alone() {
    let schema =
        schema(r#"{"name":"a","type":"string"},{"name":"b","type":["null","long"]},{"name":"c","type":"boolean"}"#);
    let decoded = decode(&schema, &schema, &[&[2, b'x', 2, 14, 1], &[2, b'y', 2, 14, 9], &[2, b'z', 0, 0], &[2]]);
    assert_eq!(decoded.rows, [0, 2]);
    assert_eq!(decoded.failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 3]);
    let text: Vec<_> = decoded.batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(text, [Some("x"), Some("z")]);
    let longs: Vec<_> = decoded.batch.column(1).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(longs, [Some(7), None]);
}

#[test]
fn fields_are_matched_by_name_alias_and_default() {
    let writer = schema(
        r#"{"name":"gone","type":{"type":"map","values":["null","string"]}},{"name":"old","type":"int"},{"name":"s","type":"bytes"}"#,
    );
    let reader = schema(
        r#"{"name":"s","type":["null","string"]},{"name":"new","aliases":["old"],"type":"double"},
           {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2},"default":"\u0001\u0000"},
           {"name":"n","type":["null","string"],"default":null},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]},"default":"B"}"#,
    );
    let decoded = decode(&reader, &writer, &[&[2, 2, b'k', 2, 2, b'v', 0, 10, 4, 0xc3, 0xa9]]);
    assert_eq!(decoded.failures, []);
    let batch = decoded.batch;
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "é");
    assert_eq!(batch.column(1).as_primitive::<Float64Type>().value(0).to_bits(), 5.0_f64.to_bits());
    assert_eq!(batch.column(2).as_primitive::<Decimal128Type>().value(0), 256);
    assert!(batch.column(3).is_null(0));
    assert_eq!(batch.column(4).as_string::<i32>().value(0), "B");
    assert_eq!(batch.schema(), reader.arrow().unwrap());
}

#[test]
fn skipped_fields_are_checked_unless_projected_away() {
    let writer = schema(
        r#"{"name":"a","type":"long"},{"name":"b","type":"string"},{"name":"c","type":{"type":"array","items":"string"}}"#,
    );
    let reader = schema(r#"{"name":"a","type":"long"},{"name":"b","type":"string","default":""}"#);
    let payload = framed(&[2, 2, b'b', 3, 4, 2, 0xff, 0]);
    let mut decoder = Decoder::new(&reader, None, Limits::default()).unwrap();
    decoder.add_writer(1, &writer).unwrap();
    assert!(
        decoder.decode(&column(&[&payload])).failures[0].1.to_string().contains("field `c`: a text is not valid UTF-8")
    );
    let mut decoder = Decoder::new(&reader, Some(&["b".to_owned(), "a".to_owned()]), Limits::default()).unwrap();
    decoder.add_writer(1, &writer).unwrap();
    let decoded = decoder.decode(&column(&[&payload]));
    assert_eq!(decoded.failures, []);
    assert_eq!(
        decoded.batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["b", "a"]
    );
    let mut decoder = Decoder::new(&reader, Some(&[]), Limits::default()).unwrap();
    decoder.add_writer(1, &writer).unwrap();
    assert_eq!(decoder.decode(&column(&[&payload, &payload])).batch.num_rows(), 2);
    assert!(Decoder::new(&reader, Some(&["x".to_owned()]), Limits::default()).is_err());
}

#[test]
fn logical_types_are_converted_or_refused_never_misread() {
    let decoded = decode(&field(MICROS), &field(MILLIS), &[&[2]]);
    assert_eq!(decoded.batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0), 1_000);
    let decoded = decode(&field(MILLIS), &field(MICROS), &[&[0xd0, 0x0f], &[2]]);
    assert_eq!(decoded.batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0), 1_000);
    assert!(decoded.failures[0].1.to_string().contains("timestamp-millis can't hold"));
    let decoded = decode(&field(MICROS), &field(r#""int""#), &[&[4]]);
    assert_eq!(decoded.batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0), 2);
    let scaled =
        |scale: u32| field(&format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#));
    assert!(refusal(&scaled(2), &scaled(4)).contains("a decimal of scale 4 can't be read as one of scale 2"));
    assert!(refusal(&field(MICROS), &field(r#"{"type":"int","logicalType":"date"}"#)).contains("int (date)"));
    assert!(
        refusal(&field(r#"{"type":"int","logicalType":"date"}"#), &field(r#""long""#))
            .contains("long can't be read as Date32")
    );
    let decoded = decode(&field(r#"{"type":"int","logicalType":"date"}"#), &field(r#""int""#), &[&[4]]);
    assert_eq!(decoded.batch.column(0).as_primitive::<Date32Type>().value(0), 2);
}

#[test]
fn branches_and_symbols_that_the_reader_lacks_fail_their_records_only() {
    let decoded = decode(&field(r#""string""#), &field(r#"["null","string","int"]"#), &[&[0], &[2, 2, b'a'], &[4, 2]]);
    assert_eq!(decoded.rows, [1]);
    assert!(decoded.failures[0].1.to_string().contains("null, which the stream's schema doesn't allow"));
    assert!(decoded.failures[1].1.to_string().contains("int can't be read as Utf8"));
    assert!(refusal(&field(r#"["null","string"]"#), &field(r#"["null","int"]"#)).contains("int can't be read"));
    let symbols = |list: &str| field(&format!(r#"{{"type":"enum","name":"E","symbols":[{list}]}}"#));
    let decoded = decode(&symbols(r#""B""#), &symbols(r#""A","B""#), &[&[0], &[2]]);
    assert_eq!(decoded.rows, [1]);
    assert!(decoded.failures[0].1.to_string().contains("symbol `A` is not in the stream's schema"));
    let with_default = field(r#"{"type":"enum","name":"E","symbols":["B"],"default":"B"}"#);
    assert_eq!(decode(&with_default, &symbols(r#""A","B""#), &[&[0]]).batch.column(0).as_string::<i32>().value(0), "B");
}

#[test]
fn schemas_that_cannot_be_read_are_refused_with_the_reason() {
    let reader = schema(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    assert!(refusal(&reader, &schema(r#"{"name":"a","type":"int"}"#)).contains("no field `b`"));
    assert!(refusal(&reader, &Schema::parse("\"int\"").unwrap()).contains("not a record"));
    let other = Schema::parse(r#"{"type":"record","name":"Other","fields":[]}"#).unwrap();
    assert!(refusal(&reader, &other).contains("add the alias"));
    let crossed = schema(r#"{"name":"a","type":"int","aliases":["b"]}"#);
    assert!(refusal(&crossed, &reader).contains("several fields match"));
    let both = schema(r#"{"name":"a","type":"int"},{"name":"x","type":"int","aliases":["a"]}"#);
    assert!(refusal(&both, &schema(r#"{"name":"a","type":"int"}"#)).contains("several fields match"));
}

#[test]
fn long_defaults_are_refused() {
    let long = schema(&json!({"name": "a", "type": "string", "default": "x".repeat(20_000)}).to_string());
    assert!(matches!(Decoder::new(&long, None, Limits::default()), Err(DecoderError::SchemaText { .. })));
}

#[test]
fn accepted_records_are_copied_or_encoded_afresh() {
    let reader = schema(r#"{"name":"a","type":"long","doc":"x"},{"name":"b","type":["null","string"],"default":null}"#);
    let same = schema(r#"{"name":"a","type":"long"},{"name":"b","type":["null","string"]}"#);
    let turned = schema(r#"{"name":"b","type":["string","null"]},{"name":"a","type":"int"}"#);
    let mut decoder = Decoder::new(&reader, None, Limits::default()).unwrap();
    decoder.add_writer(1, &same).unwrap();
    decoder.add_writer(2, &turned).unwrap();
    assert!(decoder.is_identity(1) && !decoder.is_identity(2) && !decoder.is_identity(3));
    let values = column(&[
        // A number with a needless byte is copied as it is.
        b"\0\0\0\0\x01\x82\0\x02\x02x",
        b"\0\0\0\0\x02\0\x02y\x04",
        b"\0\0\0\0\x02\x07",
        b"\0\0\0\0\x02\x02\x06",
    ]);
    let decoded = decoder.decode(&values);
    assert_eq!(decoded.rows, [0, 1, 3]);
    let mut out = BytesColumn::default();
    Reencoder::new(&reader, 9).unwrap().encode(&decoder, &values, &decoded, &mut out).unwrap();
    let expected: [&[u8]; 3] = [b"\0\0\0\0\x09\x82\0\x02\x02x", b"\0\0\0\0\x09\x04\x02\x02y", b"\0\0\0\0\x09\x06\0"];
    assert_eq!(out.iter().flatten().collect::<Vec<_>>(), expected);
    let mut fresh = BytesColumn::default();
    Encoder::new(&reader, 9).unwrap().encode(&decoded.batch, &mut fresh).unwrap();
    assert_eq!(fresh.get(0), Some(&b"\0\0\0\0\x09\x02\x02\x02x"[..]));
}

#[test]
fn encoding_says_what_does_not_fit() {
    let reader = schema(r#"{"name":"a","type":["null","string"]}"#);
    let batch = decode(&reader, &reader, &[&[2, 2, b'x'], &[0]]).batch;
    let error = |fields: &str| {
        let schema = schema(fields);
        Encoder::new(&schema, 1).unwrap().encode(&batch, &mut BytesColumn::default()).unwrap_err().to_string()
    };
    assert!(error(r#"{"name":"b","type":"int"}"#).contains("no column `b`"));
    assert!(error(r#"{"name":"a","type":"int"}"#).contains("column `a` is Utf8; the schema asks for Int32"));
    assert!(error(r#"{"name":"a","type":"string"}"#).contains("column `a`, row 1: null"));
    assert!(
        error(r#"{"name":"a","type":["null",{"type":"enum","name":"E","symbols":["A"]}]}"#)
            .contains("row 0: `x` is none")
    );
}
