//! The same bytes, the same pair of schemas: apache-avro must read the same values.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Theirs;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use avro::{Decoder, Encoder, Limits, wire};
use model::BytesColumn;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::tables::{Column, Nulls, SYMBOLS, Type, batch, record, schema, table};

/// What a reader's schema makes of a writer's field.
#[derive(Debug, Clone, Copy)]
enum Change {
    Keep,
    Drop,
    Promote,
    AllowNull,
    Rename,
    FewerSymbols,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => Just(Change::Keep),
        1 => Just(Change::Drop),
        2 => Just(Change::Promote),
        2 => Just(Change::AllowNull),
        1 => Just(Change::Rename),
        1 => Just(Change::FewerSymbols),
    ]
}

fn changed(column: &Column, change: Change) -> Option<Value> {
    let mut field = column.field();
    match change {
        Change::Keep => {}
        Change::Drop => return None,
        Change::Promote => {
            let wider = match column.kind {
                Type::Int => "double",
                Type::Long | Type::Float => "double",
                Type::Text => "bytes",
                _ => return Some(field),
            };
            field["type"] = if column.nulls == Nulls::None { json!(wider) } else { json!(["null", wider]) };
        }
        Change::AllowNull => field["type"] = json!(["null", column.plain_type()]),
        Change::Rename => {
            field["name"] = json!(format!("renamed_{}", column.name));
            field["aliases"] = json!([column.name]);
        }
        Change::FewerSymbols if column.kind == Type::Enum && column.nulls == Nulls::None => {
            field["type"]["symbols"] = json!([SYMBOLS[2], SYMBOLS[0]]);
            field["type"]["default"] = json!(SYMBOLS[2]);
        }
        Change::FewerSymbols => {}
    }
    Some(field)
}

fn added() -> Vec<Value> {
    vec![
        json!({"name": "added_long", "type": "long", "default": -3}),
        json!({"name": "added_text", "type": "string", "default": "é"}),
        json!({"name": "added_null", "type": ["null", "int"], "default": null}),
    ]
}

proptest! {
    #[test]
    fn resolved_records_read_as_apache_avro_reads_them(
        (columns, changes, fields) in table().prop_flat_map(|columns| {
            let changes = prop::collection::vec(change(), columns.len());
            (Just(columns), changes).prop_flat_map(|(columns, changes)| {
                let kept = columns.iter().zip(&changes).filter_map(|(column, change)| changed(column, *change));
                let fields: Vec<_> = kept.chain(added()).collect();
                (Just(columns), Just(changes), Just(fields).prop_shuffle())
            })
        }),
    ) {
        let (writer, reader, batch) = (schema(&columns), record(&fields), batch(&columns));
        prop_assert_eq!(avro::compatibility::can_read(&reader, &writer), vec![]);
        let mut values = BytesColumn::default();
        Encoder::new(&writer, 1).unwrap().encode(&batch, &mut values).unwrap();
        let mut decoder = Decoder::new(&reader, None, Limits::default()).unwrap();
        decoder.add_writer(1, &writer).unwrap();
        let decoded = decoder.decode(&values);
        prop_assert_eq!(&decoded.failures, &[]);

        // apache-avro's resolution doesn't know aliases, so its writer has the new names already.
        let mut columns = columns;
        for (column, _) in columns.iter_mut().zip(changes).filter(|(_, change)| matches!(change, Change::Rename)) {
            column.name.insert_str(0, "renamed_");
        }
        let their_writer = theirs(&schema(&columns));
        let their_reader = theirs(&reader);
        let theirs = GenericDatumReader::builder(&their_writer).reader_schema(&their_reader).build().unwrap();
        for (row, value) in values.iter().flatten().enumerate() {
            let (_, mut payload) = wire::split(value).unwrap();
            let Theirs::Record(entries) = theirs.read_value(&mut payload).unwrap() else { panic!("no record") };
            prop_assert!(payload.is_empty());
            prop_assert_eq!(entries.len(), decoded.batch.num_columns());
            for (name, theirs) in entries {
                let ours = decoded.batch.column_by_name(&name).unwrap();
                prop_assert!(same(ours, row, &theirs), "{}: {:?} row {} is not {:?}", name, ours, row, theirs);
            }
        }
    }
}

/// The schema for apache-avro. Its resolution (0.22) refuses decimals of fewer bytes than the precision may need, so it gets
/// the bytes of decimals as they are.
fn theirs(schema: &avro::Schema) -> apache_avro::Schema {
    let text = schema.text().replace(r#""logicalType":"decimal""#, r#""ignored":"decimal""#);
    apache_avro::Schema::parse_str(&text).unwrap()
}

fn same(ours: &ArrayRef, row: usize, theirs: &Theirs) -> bool {
    let theirs = if let Theirs::Union(_, inner) = theirs { inner.as_ref() } else { theirs };
    if ours.is_null(row) || *theirs == Theirs::Null {
        return ours.is_null(row) && *theirs == Theirs::Null;
    }
    match (ours.data_type(), theirs) {
        (DataType::Boolean, Theirs::Boolean(value)) => ours.as_boolean().value(row) == *value,
        (DataType::Int32, Theirs::Int(value)) => ours.as_primitive::<Int32Type>().value(row) == *value,
        (DataType::Date32, Theirs::Date(value)) => ours.as_primitive::<Date32Type>().value(row) == *value,
        (DataType::Int64, Theirs::Long(value)) => ours.as_primitive::<Int64Type>().value(row) == *value,
        (DataType::Float64, Theirs::Double(value)) => {
            ours.as_primitive::<Float64Type>().value(row).to_bits() == value.to_bits()
        }
        (DataType::Float64, Theirs::Float(value)) => {
            ours.as_primitive::<Float64Type>().value(row).to_bits() == f64::from(*value).to_bits()
        }
        (DataType::Timestamp(..), Theirs::TimestampMicros(value)) => {
            ours.as_primitive::<TimestampMicrosecondType>().value(row) == *value
        }
        (DataType::Timestamp(..), Theirs::TimestampMillis(value)) => {
            ours.as_primitive::<TimestampMicrosecondType>().value(row) == *value * 1_000
        }
        (DataType::Utf8, Theirs::String(value)) => ours.as_string::<i32>().value(row) == value,
        (DataType::Utf8, Theirs::Enum(_, value)) => ours.as_string::<i32>().value(row) == value,
        (DataType::Utf8, Theirs::Uuid(value)) => ours.as_string::<i32>().value(row) == value.to_string(),
        (DataType::Binary, Theirs::Bytes(value) | Theirs::Fixed(_, value)) => {
            ours.as_binary::<i32>().value(row) == value.as_slice()
        }
        (DataType::Decimal128(..), Theirs::Bytes(bytes) | Theirs::Fixed(_, bytes)) => {
            let start = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1_i128 } else { 0 };
            let theirs = bytes.iter().fold(start, |sum, byte| sum << 8 | i128::from(*byte));
            ours.as_primitive::<Decimal128Type>().value(row) == theirs
        }
        _ => false,
    }
}
